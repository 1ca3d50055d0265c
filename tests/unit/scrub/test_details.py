"""Texts without the secrets they tend to hold, and details as plain JSON."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from ordinaut_ext_observability.scrub.plain_values import MAX_SHORT_LENGTH
from ordinaut_ext_observability.scrub.text import mask_details
from ordinaut_ext_observability.scrub.text import mask_text

SECRET = "hunter2XcorrectY"
MASK, PASSWORD = "[REDACTED_SECRET]", "[REDACTED_PASSWORD]"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"postgresql://user:{SECRET}@db:5432/x", f"postgresql://{PASSWORD}@db:5432/x"),
        (f"redis://:{SECRET}@cache/0 is down", f"redis://{PASSWORD}@cache/0 is down"),
        (f"a://u:{SECRET}@h and b://{SECRET}@i", f"a://{PASSWORD}@h and b://{PASSWORD}@i"),
        (
            f"GET https://api.example.com/v1?key={SECRET}&x=1 failed",
            f"GET https://api.example.com/v1?key={MASK}&x=1 failed",
        ),
        (f"password={SECRET}", f"password={MASK}"),
        (f"PASSWORD = {SECRET} host=db", f"PASSWORD = {MASK} host=db"),
        (f"PGPASSWORD={SECRET}", f"PGPASSWORD={MASK}"),
        (f"host=db password='{SECRET} with space' user=me", f"host=db password={MASK} user=me"),
        (f'{{"password": "{SECRET}", "user": "me"}}', f'{{"password": {MASK}, "user": "me"}}'),
        (f"{{'api_key': '{SECRET}'}}", f"{{'api_key': {MASK}}}"),
        (f"client_secret={SECRET}&scope=all", f"client_secret={MASK}&scope=all"),
        (f"x-api-key: {SECRET}", f"x-api-key: {MASK}"),
        (f"Authorization: Bearer {SECRET}", f"Authorization: Bearer {MASK}"),
        (f"Authorization: basic {SECRET}", f"Authorization: basic {MASK}"),
        (f"aws_secret_access_key={SECRET}", f"aws_secret_access_key={MASK}"),
        (f"AccessKey:{SECRET}", f"AccessKey:{MASK}"),
    ],
)
def test_secrets_are_masked_and_the_rest_is_kept(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "connection refused",
        "answered 503",
        "https://api.example.com/health",
        "the token is missing",
        "bearer of bad news",
        "passwords are fine",
        "line one\nline two",
        "Größe 漢字 🙂",
    ],
)
def test_a_text_without_secrets_is_kept(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"postgresql://u:{SECRET}/part@db/x", id="slash in a URL's password"),
        pytest.param(f"postgresql://u:part@{SECRET}@db/x", id="at sign in a URL's password"),
        pytest.param("postgresql://u:" + SECRET * 40 + "@db/x", id="a token as a URL's password"),
        pytest.param(f'{{"password": "quo\\"te{SECRET}"}}', id="JSON escapes"),
        pytest.param("{'password': " + repr(f"it's \"{SECRET}\"") + "}", id="Python escapes"),
        pytest.param(f'password="{SECRET} was cut he', id="a quote that is not closed"),
        pytest.param(f"{{'password': b'{SECRET}'}}", id="bytes under a name"),
        pytest.param(f'{{"password":\n      "{SECRET}"}}', id="JSON over several lines"),
        pytest.param(f"SECRET_KEY={SECRET}", id="SECRET_KEY"),
        pytest.param(f"password_1={SECRET}", id="numbered password"),
        pytest.param(f"passphrase={SECRET}", id="passphrase"),
        pytest.param(f"AccountKey={SECRET}", id="Azure's connection strings"),
        pytest.param(f"Authorization: ApiKey {SECRET}", id="Authorization of another scheme"),
        pytest.param("Authorization: Bearer hunter2", id="a short token"),
        pytest.param(f"Cookie: session={SECRET}", id="Cookie"),
        pytest.param("x?" + "a" * 1990 + " y?" + "b" * 1960 + f" redis://:{SECRET}{SECRET}{SECRET}@h",
                     id="cut in the middle of a URL"),
        pytest.param("https://h/p?" + "a" * 2000 + f"&sig={SECRET}", id="a query longer than 2000"),
    ],
)  # fmt: skip
def test_secrets_in_less_usual_shapes_are_masked_too(text: str) -> None:
    masked = mask_text(text)
    assert SECRET[:7] not in masked
    assert SECRET[-8:] not in masked


def test_long_texts_are_cut() -> None:
    assert mask_text("x" * MAX_SHORT_LENGTH) == "x" * MAX_SHORT_LENGTH
    assert mask_text("x" * (MAX_SHORT_LENGTH + 1)) == "x" * MAX_SHORT_LENGTH + "…"
    assert len(mask_text("x" * 1_000_000)) == MAX_SHORT_LENGTH + 1


def test_what_is_no_unicode_is_shown_as_escapes() -> None:
    assert mask_text("a\udc80b") == "a\\udc80b"


@pytest.mark.parametrize(
    "piece",
    ["://", "://a", "a@", "?", "password=", 'password="', "password='", "bearer ", "basic basic ", "token", "token:   ",
     "secret'", "api-", "=", ":", "\\", "\"'", "://" + "a" * 499, "bearer aaaaaaaa", "passwordpassword="],
)  # fmt: skip
def test_hostile_texts_are_masked_at_all(piece: str) -> None:
    """A pattern that takes more than linear time would not come to an end here."""
    hostile = (piece * (100_000 // len(piece)))[:100_000]
    assert len(mask_text(hostile)) <= MAX_SHORT_LENGTH + 1


# -- Details -----------------------------------------------------------------------------------------------------------


class Level(enum.IntEnum):
    HIGH = 3


class Number(float):
    """As numpy's float64, which is a float of another class."""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (-(2**63) + 1, -(2**63) + 1),
        (2**63, str(2**63)),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        ("text", "text"),
        (Decimal("1.10"), "1.10"),
        (datetime(2026, 11, 24, tzinfo=UTC), "2026-11-24T00:00:00+00:00"),
        (b"\xff", "\\xff"),
        ((1, 2), [1, 2]),
        ([], []),
        ({1: {"a": (None,)}}, {"1": {"a": [None]}}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({"url": f"https://u:{SECRET}@h"}, {"url": f"https://{PASSWORD}@h"}),
        ([f"password={SECRET}"], [f"password={MASK}"]),
    ],
)
def test_details_are_plain_json(value: Any, shown: Any) -> None:
    masked = mask_details(value)
    assert masked == shown
    assert type(masked) is type(shown)
    assert json.loads(json.dumps(masked, allow_nan=False)) == json.loads(orjson.dumps(masked))


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "db_password", "secret_key", "apiKey", "api-key", "token", "tokens", "Authorization",
     "Set-Cookie", "dsn", "credentials", "signature", "private_key", "passwd_hash"],
)  # fmt: skip
@pytest.mark.parametrize("value", [SECRET, 12345678, [SECRET], {"inner": SECRET}, SECRET.encode()])
def test_whatever_stands_under_a_secrets_name_is_masked(name: str, value: Any) -> None:
    assert mask_details({"outer": [{name: value}]}) == {"outer": [{name: MASK}]}


def test_a_dsn_of_something_is_masked() -> None:
    assert mask_details({"database_dsn": f"{SECRET}@db"}) == {"database_dsn": MASK}


def test_details_are_bounded() -> None:
    wide = mask_details({"list": list(range(1000)), **{str(number): number for number in range(1000)}})
    assert (len(wide), len(wide["list"])) == (51, 51)  # with a word on those left out
    deep: Any = SECRET
    for _ in range(20):
        deep = {"deeper": deep}
    assert len(orjson.dumps(mask_details(deep))) < 1000
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    assert orjson.dumps(mask_details(cyclic))


def test_details_are_bounded_as_a_whole() -> None:
    shared: list[Any] = ["x" * MAX_SHORT_LENGTH] * 30
    nested = [[shared] * 20] * 10
    assert len(orjson.dumps(mask_details({"nested": nested}))) < 500_000


@pytest.mark.parametrize(
    "value",
    [
        Level.HIGH,
        pytest.param(Number(1.5)),
    ],
)
def test_numbers_of_other_classes_can_be_encoded(value: Any) -> None:
    assert orjson.loads(orjson.dumps(mask_details({"value": value}))) in ({"value": 3}, {"value": 1.5})


def test_what_is_too_deep_is_masked_like_the_rest() -> None:
    deep = {"a": {"b": {"c": {"d": {"authorization": SECRET}}}}}
    assert SECRET not in orjson.dumps(mask_details(deep)).decode()
