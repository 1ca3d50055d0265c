"""Whatever a text or a value is, it is scrubbed without an error, once for all, and no planted secret is left."""

from __future__ import annotations

import json
import string
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinaut_ext_observability.scrub.patterns import prefilter_with_re, prefilter_with_re2
from ordinaut_ext_observability.scrub.plain_values import encode_line
from ordinaut_ext_observability.scrub.scrubber import Scrubber

CANARY = "cAnArY77"
WITH_RE2, WITH_RE = Scrubber(), Scrubber()
WITH_RE2.prefilter, WITH_RE.prefilter = prefilter_with_re2(), prefilter_with_re()

words = st.text(string.ascii_letters + string.digits + " .,;/-_()[]{}<>\n", max_size=40)
plain = st.text(string.ascii_letters + string.digits, max_size=12).map(lambda text: f"{text}{CANARY}{text}")
printable = st.text(string.printable + "é漢🙂", max_size=15).map(lambda text: f"{text}{CANARY}{text}")
names = st.sampled_from(["password", "PGPASSWORD", "clientSecret", "api_key", "access-token", "db.passwd", "X-Auth"])
pieces = st.sampled_from(
    ["bob@example.com", "://", "u:p@h", "?key=", "password=", "token: ", '"', "'", "\\", "4111111111111111", "123-45-6789",
     "555-123-4567", "+49 30 1234567", "DE89370400440532013000", "Bearer abcdefgh1", "eyJhbGciOiJ.eyJzdWIiOiI", "[REDACTED_EMAIL]",
     "VALUES ('", "[parameters: ", "Cookie: ", "sk-abcdefghijklmnop1", "-----BEGIN PRIVATE KEY", " ", "\n", "-", ".", "@", "a"]
)  # fmt: skip
texts = st.one_of(st.text(st.characters(), max_size=300), st.lists(pieces, max_size=12).map("".join))
values = st.recursive(
    st.one_of(
        texts,
        st.integers(),
        st.floats(allow_nan=False),
        st.none(),
        st.binary(max_size=30),
        st.builds(ValueError, texts),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(texts, names, st.integers()), inner, max_size=4),
        st.frozensets(texts, max_size=3),
    ),
    max_leaves=15,
)


@given(texts)
def test_a_text_is_scrubbed_once_for_all_and_the_same_by_both_first_passes(text: str) -> None:
    once = WITH_RE2.text(text)
    assert WITH_RE2.text(once) == once
    assert WITH_RE.text(text) == once


@given(values)
def test_any_value_is_scrubbed_and_so_is_its_line(value: Any) -> None:
    once = WITH_RE2.value(value)
    assert WITH_RE2.value(once) == once
    line = encode_line({"message": "x", "value": value})
    (scrubbed,) = WITH_RE2.lines([line])
    assert list(WITH_RE2.lines([scrubbed])) == [scrubbed]
    assert set(json.loads(scrubbed)) == {"message", "value"}


@given(words, names, st.sampled_from(["=", ": ", " = ", "=>"]), plain, words)
def test_no_secret_under_its_name_is_left(before: str, name: str, sign: str, secret: str, after: str) -> None:
    _leaves_nothing(f"{before} {name}{sign}{secret} {after}")


@given(words, names, printable, st.booleans(), words)
def test_no_secret_in_the_text_of_a_dict_is_left(
    before: str, name: str, secret: str, is_json: bool, after: str
) -> None:
    shown = json.dumps({"a": 1, name: secret}) if is_json else repr({"a": 1, name: secret})
    _leaves_nothing(f"{before} {shown} {after}")


@given(words, st.sampled_from(["https", "postgresql+psycopg", "amqp"]), printable, words)
def test_no_secret_in_a_url_is_left(before: str, scheme: str, secret: str, after: str) -> None:
    _leaves_nothing(f"{before} {scheme}://user:{quote(secret, safe='')}@host/path?x=1&api_key={quote(secret)} {after}")


@given(words, printable, words)
def test_no_literal_of_a_statement_is_left(before: str, secret: str, after: str) -> None:
    literal = secret.replace("\\", "").replace("'", "''")
    _leaves_nothing(f"{before} INSERT INTO t VALUES (1, '{literal}') {after}")


@given(st.sampled_from(["{}", "x {} y", "a={}", "({})", "<{}>", '"{}"', "{}."]),
       st.sampled_from(["cAnArY77.x@example.com", "ghp_cAnArY77cAnArY77cAnArY77", "eyJcAnArY77abc.eyJcAnArY77abc.sig",
                        "Bearer cAnArY77cAnArY77", "xoxb-123456-cAnArY77", "https://hooks.slack.com/services/T/B/cAnArY77"]))  # fmt: skip
def test_no_token_is_left_wherever_it_stands(place: str, token: str) -> None:
    _leaves_nothing(place.format(token))


@pytest.mark.parametrize("scrubber", [WITH_RE2, WITH_RE], ids=["re2", "re"])
@settings(max_examples=20)
@given(piece=st.lists(pieces, min_size=1, max_size=3).map("".join))
def test_hostile_texts_come_to_an_end(scrubber: Scrubber, piece: str) -> None:
    """A pattern that takes more than linear time would not come to an end here."""
    assert scrubber.text((piece * (16_384 // len(piece) + 1))[:16_384]) is not None


def _leaves_nothing(text: str) -> None:
    for scrubber in (WITH_RE2, WITH_RE):
        assert CANARY not in scrubber.text(text)
        assert CANARY not in scrubber.lines([encode_line({"message": "x", "detail": {"inner": [text]}})])[0]
