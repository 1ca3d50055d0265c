"""What takes text of strangers never raises, whatever the text is."""

from __future__ import annotations

import json
import re
from datetime import datetime

from hypothesis import example, given
from hypothesis import strategies as st

from ordinaut_ext_observability.correlation.ids import MAX_ID_LENGTH, match_client_id
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.scrub.plain_values import MAX_TEXT_LENGTH, json_text
from ordinaut_ext_observability.metrics.negotiation import Format, accepts_gzip, choose_format
from ordinaut_ext_observability.correlation.ids import parse_traceparent

all_texts = st.text(st.characters(), max_size=3000)
"""Lone surrogates included."""

header_parts = st.sampled_from(
    ["application/openmetrics-text", "text/plain", "text/*", "*/*", "gzip", "identity", "*", ",", ";", "=", '"', " ", "q",
     "q=", "q=0", "q=1", "q=0.5", "q=nan", "q=-1", "q=inf", "version=", "1.0.0", "\x00", "é"]
)  # fmt: skip
headers = st.one_of(all_texts, st.lists(header_parts, max_size=40).map("".join))

hex_parts = st.sampled_from(
    [
        b"00",
        b"01",
        b"ff",
        b"-",
        b"0" * 32,
        b"0" * 16,
        b"4bf92f3577b34da6a3ce929d0e0e4736",
        b"00f067aa0ba902b7",
        b"A",
        b"\n",
    ]
)
traceparents = st.one_of(
    st.binary(max_size=600),
    st.lists(hex_parts, max_size=10).map(b"".join),
    st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,5})?", fullmatch=True),
)


@given(all_texts)
@example("\ud800")
@example("\ud83d\ude00")
@example("x" * 1999 + "\ud83d\ude00")
def test_json_text_is_one_json_string_on_one_line(text: str) -> None:
    encoded = json_text(text)
    decoded = json.loads(encoded)
    assert isinstance(decoded, str)
    assert encoded.encode()
    assert not re.search(r"[\x00-\x1f]", encoded)
    if not re.search("[\ud800-\udfff]", text):
        assert decoded == (text if len(text) <= MAX_TEXT_LENGTH else text[:MAX_TEXT_LENGTH] + "…")


@given(traceparents)
def test_traceparent_gives_valid_ids_or_nothing(value: bytes) -> None:
    parsed = parse_traceparent(value)
    if parsed is not None:
        trace_id, span_id, sampled = parsed
        assert re.fullmatch(r"[0-9a-f]{32}", trace_id)
        assert re.fullmatch(r"[0-9a-f]{16}", span_id)
        assert int(trace_id, 16)
        assert int(span_id, 16)
        assert value[3:52].decode() == f"{trace_id}-{span_id}"
        assert sampled is (value[54:55] in b"13579bdf")
        assert value[:2] != b"ff"


@given(st.integers(0, 254), st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_every_valid_traceparent_is_read(version: int, trace: int, span: int, flags: int) -> None:
    value = f"{version:02x}-{trace:032x}-{span:016x}-{flags:02x}".encode()
    assert parse_traceparent(value) == (f"{trace:032x}", f"{span:016x}", flags % 2 == 1)


@given(headers)
def test_any_accept_header_gets_a_format(header: str) -> None:
    chosen = choose_format(header)
    assert isinstance(chosen, Format)
    if "openmetrics" not in header.lower():
        assert not chosen.openmetrics


@given(headers)
def test_any_accept_encoding_header_gets_an_answer(header: str) -> None:
    accepted = accepts_gzip(header)
    assert isinstance(accepted, bool)
    if "gzip" not in header.lower() and "*" not in header:
        assert accepted is False


@given(st.one_of(st.binary(max_size=200), st.from_regex(rb"[A-Za-z0-9._-]*[\r\n]?", fullmatch=True)))
def test_ids_that_are_taken_need_no_escaping(value: bytes) -> None:
    if match_client_id(value):
        text = value.decode()
        assert 1 <= len(text) <= MAX_ID_LENGTH
        assert json.dumps(text) == f'"{text}"'
        assert text.split() == [text]


@given(st.floats(min_value=0, max_value=4e9))
@example(1763936344.123)
def test_timestamps_name_the_millisecond_that_has_begun(instant: float) -> None:
    text = timestamp(instant)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert -1e-6 <= instant - datetime.fromisoformat(text).timestamp() < 0.001 + 1e-6
