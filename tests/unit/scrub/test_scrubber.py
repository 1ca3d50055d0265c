"""What the scrubber finds, what it leaves alone, and its values and lines; with both first passes."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import uuid
from collections import UserDict
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
import pytest

from ordinaut_ext_observability.scrub import scrubber as module

from ordinaut_ext_observability.scrub.keys import is_secret
from ordinaut_ext_observability.scrub.patterns import is_card, is_iban, prefilter_with_re, prefilter_with_re2
from ordinaut_ext_observability.scrub.scrubber import Scrubber

SECRET = "hunter2XcorrectY"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


@pytest.fixture(params=[prefilter_with_re2, prefilter_with_re], ids=["re2", "re"])
def scrubber(request: Any) -> Scrubber:
    made = Scrubber()
    made.prefilter = request.param()
    return made


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ask bob.o+x@mail.example.com.", "ask [REDACTED_EMAIL]."),
        ("jörg@müller.de, 用户@例子.公司", "[REDACTED_EMAIL], [REDACTED_EMAIL]"),
        ("?to=bob%40example.com&n=1", "?to=[REDACTED_EMAIL]&n=1"),
        ("call 555-123-4567 or (555) 123-4567", "call [REDACTED_PHONE] or [REDACTED_PHONE]"),
        ("+4930123456, +1 555-123-4567, +49 (30) 1234567", "[REDACTED_PHONE], [REDACTED_PHONE], [REDACTED_PHONE]"),
        ("ssn 123-45-6789", "ssn [REDACTED_SSN]"),
        ("4111111111111111 4111-1111-1111-1111", "[REDACTED_CREDIT_CARD] [REDACTED_CREDIT_CARD]"),
        ("3782 822463 10005\n5555555555554444", "[REDACTED_CREDIT_CARD]\n[REDACTED_CREDIT_CARD]"),
        ("to DE89 3704 0044 0532 0130 00", "to [REDACTED_IBAN]"),
        (f"jwt {JWT}!", "jwt [REDACTED_JWT]!"),
        (f"curl -H 'X: bearer {SECRET}'", "curl -H 'X: bearer [REDACTED_CREDENTIAL]'"),
        ("basic dXNlcjpwYXNzd29yZA== sent", "basic [REDACTED_CREDENTIAL] sent"),
        ("Authorization: Basic dXNl", "Authorization: Basic [REDACTED_SECRET]"),
        ("Set-Cookie: sid=1; Path=/", "Set-Cookie: [REDACTED_SECRET]"),
        ("[(b'cookie', b'sid=1'), (b'host', b'x')]", "[(b'cookie', [REDACTED_SECRET]), (b'host', b'x')]"),
        (f"db.password={SECRET} x", "db.password=[REDACTED_SECRET] x"),
        (f"accessToken={SECRET}", "accessToken=[REDACTED_SECRET]"),
        (f"mysql: app:p!{SECRET}@db1 refused", "mysql: app:[REDACTED_PASSWORD]@db1 refused"),
        ("https://e.com:8080/u/@bob?token=abc&page=2", "https://e.com:8080/u/@bob?token=[REDACTED_SECRET]&page=2"),
        ("https://h/x?sig=abc&n=1", "https://h/x?sig=[REDACTED_SECRET]&n=1"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "[REDACTED_TOKEN]"),
        ("AKIAIOSFODNN7EXAMPLE", "[REDACTED_TOKEN]"),
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "[REDACTED_TOKEN]"),
        ("123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", "[REDACTED_TOKEN]"),
        ("https://hooks.slack.com/services/T0/B0/XyzAbc12", "https://hooks.slack.com/services/[REDACTED_TOKEN]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAAA", "[REDACTED_KEY]"),
        ("[SQL: INSERT]\n[parameters: ('bob', 1)]\nx", "[SQL: INSERT]\n[parameters: [REDACTED_SQL]\nx"),
        ("user[password]=x&api_token[]=y", "user[password]=[REDACTED_SECRET]&api_token[]=[REDACTED_SECRET]"),
        ("user%5Bpassword%5D=x", "user%5Bpassword%5D=[REDACTED_SECRET]"),
        (f"psql --password {SECRET} -h db", "psql --password [REDACTED_SECRET] -h db"),
        (f"['psql', '--password', '{SECRET}']", "['psql', '--password', [REDACTED_SECRET]]"),
        (f"db.password\n  no URL [type=url, input_value='{SECRET}', input_type=str]",
         "db.password\n  no URL [type=url, input_value=[REDACTED_SECRET], input_type=str]"),
        ("DETAIL:  Key (name)=(bob) already exists.", "DETAIL:  Key (name)=([REDACTED_SQL]"),
        ("SELECT * FROM t WHERE a = 'it''s' AND b = 3", "SELECT * FROM t WHERE a = '[REDACTED_SQL]' AND b = 3"),
        ("ALTER ROLE x PASSWORD 'y'", "ALTER ROLE x PASSWORD '[REDACTED_SQL]'"),
    ],
)  # fmt: skip
def test_what_is_found_is_replaced_by_its_kind(scrubber: Scrubber, text: str, shown: str) -> None:
    assert scrubber.text(text) == shown
    assert scrubber.text(shown) == shown
    line = json.dumps({"message": f"a\n{text}"}, ensure_ascii=False)
    assert orjson.loads(scrubber.lines([line])[0]) == {"message": scrubber.text(f"a\n{text}")}
    assert shown in scrubber.text(f"a\n{text}")


@pytest.mark.parametrize(
    "text",
    [
        "tokens_used=512 max_tokens: 4096 author=bob", "bearer of bad news, basic authentication", "the token is missing",
        "10.0.0.1 2001:db8::1 v1.2.3-rc.4 3.141592653589793", "2026-11-23T22:19:04.123+10:00 2026-11-23 1.5e+12345678",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-4111111111111111-01", "4111111111111112 378282246310006", "000-12-3456",
        "use --password -v or --no-token", "name\n  too long [type=x, input_value='abc', input_type=str]",
        "task-force-of-seventeen-1 lodash@4.17.21 DE88370400440532013000", "0.4111111111111111 4111111111111111.5",
        "http://example.com:8080/a?page=2&sort=name", "666-12-3456 900-12-3456 123-00-4567 123-45-0000",
    ],
)  # fmt: skip
def test_what_only_looks_alike_is_left(scrubber: Scrubber, text: str) -> None:
    assert scrubber.text(text) == text


def test_ids_times_hashes_and_numbers_are_never_touched(scrubber: Scrubber) -> None:
    draw = random.Random(13)

    def values() -> Any:
        bits = draw.getrandbits(128)
        second = draw.uniform(1.6e9, 2.0e9)
        yield str(uuid.UUID(int=bits))
        yield from (f"{second:.0f}", f"{second * 1e3:.0f}", f"{second * 1e6:.0f}", f"{second:.6f}")
        yield from (f"{bits:032x}", f"{bits:032X}", hashlib.sha256(b"%d" % bits).hexdigest(), f"{bits:032x}"[:7])
        yield f"00-{bits:032x}-{bits >> 64 & 0xFFFFFFFFFFFFFFFF:016x}-01"
        yield from (repr(draw.random()), repr(draw.uniform(-1e6, 1e6)))

    texts = [" ".join(value for _ in range(50) for value in values()) for _ in range(200)]  # 120,000 in all
    for separator in (" ", ",", "|"):
        for text in texts if separator == " " else texts[:10]:
            assert scrubber.text(text.replace(" ", separator)) == text.replace(" ", separator)


@pytest.mark.parametrize("number", ["4111111111111111", "5555555555554444", "2223003122003222", "378282246310005",
                                    "6011111111111117", "3530111333300000", "30569309025904", "6240008631401148"])  # fmt: skip
def test_numbers_of_cards_have_an_issuer_and_a_check_digit(number: str) -> None:
    assert is_card(number)
    assert not is_card(f"{number[:-1]}{(int(number[-1]) + 1) % 10}")
    assert not is_card(f"1{number[1:]}")


@pytest.mark.parametrize("number", ["DE89370400440532013000", "GB82WEST12345698765432", "NO9386011117947", "FR1420041010050500013M02606",
                                    "MT84MALT011000012345MTLCAST001S"])  # fmt: skip
def test_account_numbers_have_the_length_of_their_country_and_check_digits(number: str) -> None:
    assert is_iban(number)
    assert not is_iban(f"{number[:2]}{(int(number[2:4]) + 1) % 100:02d}{number[4:]}")
    assert not is_iban(f"{number}0")


@pytest.mark.parametrize(
    "name",
    "password PGPASSWORD db_password_1 userPassword secret_key SECRET_KEY_BASE apiKey api-key X-Api-Key token accessToken "
    "refresh_tokens auth Authorization Set-Cookie dsn credentials signature privateKey passwd_hash csrf cvv pass db_pass pw creds passcode".split(),
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    "author authority authenticated tokens_used max_tokens token_type tokenizer password_changed_at secret_name passenger "
    "compass key primary_key monkey cookie_count bypass keyboard session_id correlation_id user".split(),
)
def test_names_that_only_sound_like_it(name: str) -> None:
    assert not is_secret(name)


def test_values_keep_their_types(scrubber: Scrubber) -> None:
    given = {
        "user": ("bob@example.com", {"bob@example.com"}, b"bob@example.com", frozenset(("x",))),
        "bob@example.com": 1,
        "amy@example.com": 2,
        7: [("authorization", SECRET), ("host", "x")],
        "password": [1, 2],
        "token": None,
        "tokens_used": 12,
        "card": 4111111111111111,
        "at": 1732400000123456,
        "error": ValueError(f"password={SECRET}"),
    }
    assert scrubber.value(given) == {
        "user": ("[REDACTED_EMAIL]", {"[REDACTED_EMAIL]"}, b"[REDACTED_EMAIL]", frozenset(("x",))),
        "[REDACTED_EMAIL]": 1,
        "[REDACTED_EMAIL]_2": 2,
        7: [("authorization", "[REDACTED_SECRET]"), ("host", "x")],
        "password": "[REDACTED_SECRET]",
        "token": None,
        "tokens_used": 12,
        "card": "[REDACTED_CREDIT_CARD]",
        "at": 1732400000123456,
        "error": "ValueError: password=[REDACTED_SECRET]",
    }
    assert scrubber.value(scrubber.value(given)) == scrubber.value(given)


class Login(NamedTuple):
    user: str
    password: str


@dataclass
class Account:
    password: str


class Field(StrEnum):
    PASSWORD = "password"


@pytest.mark.parametrize(
    "value",
    [
        {b"password": SECRET}, [(b"authorization", SECRET.encode())], {Field.PASSWORD: SECRET}, Login("bob", SECRET),
        Account(SECRET), ["psql", "--password", SECRET], MappingProxyType({"password": SECRET}), UserDict(password=SECRET),
        memoryview(f"password={SECRET}".encode()), {("bob@example.com", SECRET): 1}, Decimal("4111111111111111"),
    ],
)  # fmt: skip
def test_names_count_in_any_container_and_objects_as_their_text(scrubber: Scrubber, value: Any) -> None:
    shown = scrubber.value(value)
    shown = bytes(shown) if isinstance(shown, memoryview) else shown
    assert "REDACTED" in str(shown)
    assert "4111" not in str(shown)
    assert SECRET not in str(shown) or "bob" not in str(shown)


def test_many_names_that_become_the_same_stay_apart_and_short(scrubber: Scrubber) -> None:
    shown = scrubber.value({f"{number}@example.com": number for number in range(3000)})
    assert list(shown.values()) == list(range(3000))
    assert max(map(len, shown)) == len("[REDACTED_EMAIL]_2999")


def test_what_holds_nothing_stays_the_same_object(scrubber: Scrubber) -> None:
    for value in (uuid.uuid4(), Decimal("1.5"), object(), bytearray(b"x")):
        assert scrubber.value([value]) == [value]


def test_fields_that_are_allowed_stay_and_persons_can_be_told_apart() -> None:
    scrubber = Scrubber(["user.contact", "token"], b"k" * 16)
    given = {
        "user": [{"contact": "bob@example.com", "other": "Bob@example.com"}],
        "token": "x",
        "also": "amy@example.com",
    }
    shown = scrubber.value(given)
    assert shown["user"][0]["contact"] == "bob@example.com"
    assert shown["token"] == "x"
    first, second = shown["user"][0]["other"], shown["also"]
    assert first.startswith("[REDACTED_EMAIL:")
    assert first != second
    assert scrubber.text("bob@example.com") == first == scrubber.text(first)
    assert scrubber.text(f"password={SECRET}") == "password=[REDACTED_SECRET]"


def test_lines_without_a_find_keep_their_bytes_and_ids_stay() -> None:
    counted: list[str] = []
    clean = '{"timestamp":"2026-11-23T22:19:04.123Z",  "message":"ok","n":1.50}'
    found = (
        '{"timestamp":"2026-11-23T22:19:04.123Z","message":"bob@example.com","correlation_id":"4111111111111111",'
        '"n":4111111111111111,"task_context":{"token":"x"},"é":"\\u2028"}'
    )
    lines = Scrubber(count=counted.append).lines([clean, found])
    assert lines[0] == clean
    assert lines[1] == found.replace("bob@example.com", "[REDACTED_EMAIL]").replace(
        ":4111111111111111", ':"[REDACTED_CREDIT_CARD]"'
    ).replace('"x"', '"[REDACTED_SECRET]"')
    assert sorted(counted) == ["credit_card", "email", "secret"]


def test_what_cannot_be_looked_at_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = []
    scrubber = Scrubber(on_error=errors.append)
    assert scrubber.text(f"{'x ' * module.MAX_TEXT_LENGTH}") == "[REDACTED_TOO_LONG]"
    wide: Any = ["bob@example.com"]
    for _ in range(20):
        wide = [wide, wide, 1]
    assert "bob" not in repr(scrubber.value(wide))
    cyclic: list[Any] = ["bob@example.com"]
    cyclic.append(cyclic)
    assert "bob" not in repr(scrubber.value(cyclic))
    assert scrubber.lines(["no JSON: password=x"]) == ['{"message":"[REDACTED_FAILED]"}']
    monkeypatch.setattr(Scrubber, "_replace", lambda *_: 1 / 0)
    assert scrubber.text(f"password={SECRET}") == "[REDACTED_FAILED]"
    assert errors


ENDS_MEANWHILE = """
import threading, time
from ordinaut_ext_observability.scrub.scrubber import Scrubber
scrubber = Scrubber()
def scrub():
    while True:
        scrubber.lines(["lorem ipsum " * 5000])
for _ in range(3):
    threading.Thread(target=scrub, daemon=True).start()
time.sleep(0.2)
"""


def test_process_that_ends_while_threads_scrub_ends_well() -> None:
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", ENDS_MEANWHILE], capture_output=True, timeout=60, check=False)
        assert (ended.returncode, ended.stderr) == (0, b"")
