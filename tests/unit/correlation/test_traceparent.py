"""`traceparent` as https://www.w3.org/TR/trace-context/ has it."""

from __future__ import annotations

import pytest

from ordinaut_ext_observability.correlation.ids import parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def header(version: str = "00", trace: str = TRACE, span: str = SPAN, flags: str = "01", rest: str = "") -> bytes:
    return f"{version}-{trace}-{span}-{flags}{rest}".encode()


def test_a_valid_header_gives_its_ids_and_its_flag() -> None:
    assert parse_traceparent(header()) == (TRACE, SPAN, True)


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("fe", False), ("ff", True)]
)
def test_only_the_last_flag_says_sampled(flags: str, sampled: bool) -> None:  # noqa: FBT001
    assert parse_traceparent(header(flags=flags)) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize("version", ["01", "0a", "cc", "fe"])
@pytest.mark.parametrize("rest", ["", "-", "-what-the-future-will-be-like", "-\x21\x7e"])
def test_later_versions_are_read_as_far_as_known(version: str, rest: str) -> None:
    assert parse_traceparent(header(version=version, rest=rest)) == (TRACE, SPAN, True)


@pytest.mark.parametrize("rest", [".", "x", "0", "01", " ", "--\x00", "-a b", "-\xe9", "-a\n"])
def test_a_later_version_goes_on_only_after_a_dash_with_printable_text(rest: str) -> None:
    assert parse_traceparent(header(version="01", rest=rest)) is None


@pytest.mark.parametrize("rest", ["-", "-00", "-what", "0", " ", "\n", "\r\n"])
def test_version_00_is_exactly_55_characters(rest: str) -> None:
    assert len(header()) == 55
    assert parse_traceparent(header(rest=rest)) is None


@pytest.mark.parametrize("rest", ["", "-what-the-future"])
def test_version_ff_is_invalid(rest: str) -> None:
    assert parse_traceparent(header(version="ff", rest=rest)) is None


@pytest.mark.parametrize(
    "parts",
    [
        {"trace": "0" * 32},
        {"span": "0" * 16},
        {"trace": "0" * 32, "span": "0" * 16},
        {"version": "01", "trace": "0" * 32},
        {"version": "01", "span": "0" * 16},
    ],
)
def test_ids_of_zeros_are_invalid(parts: dict[str, str]) -> None:
    assert parse_traceparent(header(**parts)) is None


def test_ids_with_a_single_digit_set_are_valid() -> None:
    assert parse_traceparent(header(trace="0" * 31 + "1", span="1" + "0" * 15)) is not None


@pytest.mark.parametrize(
    "parts",
    [
        {"version": "0A"},
        {"trace": TRACE.upper()},
        {"span": SPAN.upper()},
        {"flags": "0A"},
        {"version": "CC"},
    ],
)
def test_upper_case_is_invalid(parts: dict[str, str]) -> None:
    assert parse_traceparent(header(**parts)) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"-",
        b"00",
        header()[:-1],
        header()[1:],
        b" " + header(),
        header(version="0"),
        header(version="000"),
        header(version="0x"),
        header(trace=TRACE[:-1]),
        header(trace=TRACE + "0"),
        header(trace="g" + TRACE[1:]),
        header(span=SPAN[:-1]),
        header(span=SPAN + "0"),
        header(span="." + SPAN[1:]),
        header(flags="1"),
        header(flags="001"),
        header(flags=".0"),
        header(flags="-1"),
        header().replace(b"-", b"_"),
        header().replace(b"-", b""),
        header() + b"," + header(),
        b"\x00" * 55,
        b"\xff" * 55,
        "٠".encode() + header()[2:],
    ],
)
def test_malformed_headers_are_invalid(value: bytes) -> None:
    assert parse_traceparent(value) is None


def test_a_later_version_is_read_up_to_512_characters() -> None:
    assert parse_traceparent(header(version="01", rest="-" + "x" * (512 - 56))) == (TRACE, SPAN, True)
    assert parse_traceparent(header(version="01", rest="-" + "x" * (513 - 56))) is None
    assert parse_traceparent(header(version="01", rest="-" * 100_000)) is None
