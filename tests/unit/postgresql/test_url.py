"""URLs of PostgreSQL in every spelling: the same for all who connect, and no part of a password in what is said."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import asyncpg
import pytest
from asyncpg import connect_utils
from hypothesis import given
from hypothesis import strategies as st

from ordinaut_ext_observability.postgresql import url as database_url
from ordinaut_ext_observability.collectors import connection
from ordinaut_ext_observability.postgresql.url import read_url
from ordinaut_ext_observability.db.insights import queries
from ordinaut_ext_observability.errors import ObservabilityError


def asyncpg_url(url: str) -> str:
    return read_url(url).url()


def shown_target(url: str) -> str:
    return read_url(url).shown()


USABLE = [
    ("postgresql://u:p@h:5433/d", "h:5433/d"),
    ("postgres://u:p@h/d", "h:5432/d"),
    ("postgresql+psycopg://u:p%40ss@h/d", "h:5432/d"),
    ("POSTGRESQL+asyncpg://u@h/d", "h:5432/d"),
    ("postgresql://u:p@h1:5432,h2:6432/d?target_session_attrs=primary", "h1:5432,h2:6432/d"),
    ("postgresql://u:p@h1,[::1]:7/d", "h1:5432,::1:7/d"),
    ("postgresql://u:p@/d?host=h1,h2&port=1,2", "h1:1,h2:2/d"),
    ("postgresql://u:p@/d?host=h1,h2&port=1", "h1:1,h2:1/d"),
    ("postgresql://u:p@/d?host=/run/postgresql&port=5433", "local socket:5433/d"),
    ("postgresql://u:p@%2Frun%2Fpostgresql:5433/d", "local socket:5433/d"),
    ("postgresql://u:p@/d?hostaddr=192.0.2.1&port=6", "192.0.2.1:6/d"),
    ("postgresql://u:p@h/d?hostaddr=192.0.2.1", "h:5432/d"),
    ("postgresql://u:p@:5433/d", "localhost:5433/d"),
    ("postgresql:///d", "local socket:5432/d"),
    ("postgresql://h?dbname=d&password=p", "h:5432/d"),
    ("postgresql://h/an%20odd%0Aname", "h:5432/?"),
    *(
        (f"postgresql+{driver}://u:p@h/d", "h:5432/d")
        for driver in ("psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "asyncpg", "pg8000", "my_driver")
    ),
    ("postgresql://u:p@h/d?sslrootcert=system", "h:5432/d"),
    (" postgresql+psycopg_async://u:p@h:1/d?sslmode=require\n", "h:1/d"),
]

UNUSABLE = [
    "",
    "postgresql:d",
    "mysql://u:secret@h/d",
    "u:secret@h",
    "//[secret",
    "postgresql://u:secret",
    "postgresql://u:12?secret@h/d",
    "postgresql://u:12#secret@h/d",
    "postgresql://u:12/secret@h/d",
    "postgresql://u:secret@12@h/d",
    "postgresql://u:12?user=secret@h/d",
    "postgresql://u:[secret@h/d",
    "postgresql://u:secret@h:port/d",
    "postgresql://u:secret@h:65536/d",
    "postgresql://u:secret@h1,,h2/d",
    "postgresql://u:secret@/d?host=h1,",
    "postgresql://u:secret@/d?host=h1,h2,h3&port=1,2",
    "postgresql://u:secret@/d?host=h&port=secret",
    "postgresql://u:secret@/d?port=secret",
    "postgresql://u:secret@h h/d",
    "postgresql://u:secret\N{DOUBLE EXCLAMATION MARK}\N{ACCOUNT OF}@h/d",
]


def dsn_of_asyncpg(url: str) -> Any:
    """What asyncpg makes of the URL: addresses and parameters."""
    parse = connect_utils._parse_connect_dsn_and_args
    return parse(**{**dict.fromkeys(inspect.signature(parse).parameters), "dsn": url})


@pytest.fixture(autouse=True)
def _no_variables_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("url", "target"), USABLE)
def test_usable_urls_are_asyncpgs_and_are_shown_without_credentials(url: str, target: str) -> None:
    assert shown_target(url) == target
    assert asyncpg_url(asyncpg_url(url)) == asyncpg_url(url)
    dsn_of_asyncpg(asyncpg_url(url))


def test_asyncpg_connects_to_what_is_shown() -> None:
    addresses, parameters, *_ = dsn_of_asyncpg(asyncpg_url("postgresql+psycopg://u:p%40ss@h1:5432,[::1]:6432/d"))
    assert [tuple(address) for address in addresses] == [("h1", 5432), ("::1", 6432)]
    assert (parameters.user, parameters.password, parameters.database) == ("u", "p@ss", "d")


def test_a_folder_of_sockets_is_the_host() -> None:
    assert asyncpg_url("postgresql:///d?host=/run/postgresql") == "postgresql://%2Frun%2Fpostgresql/d"


@pytest.mark.parametrize(
    "parameter",
    ["keepalives=1", "channel_binding=require", "connect_timeout=3", "application_name=x", "async_fallback"],
)
def test_parameters_of_other_drivers_are_left_out(parameter: str) -> None:
    assert asyncpg_url(f"postgresql://h/d?{parameter}&sslmode=require") == "postgresql://h/d?sslmode=require"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql+psycopg_async://u:secret@h/d", "does not begin with postgresql://"),
        ("postgresql+psycopg_async://u:sec@ret@h/d", "special characters need %-escapes"),
        ("postgresql+psycopg_async://u:sec\nret@h/d", "has a space, a line break"),
        ("postgresql+psycopg_async://u:sec ret@h/d", "has a space, a line break"),
        ("postgresql+psycopg_async://u:secret@h:1x/d", "host or port"),
        ("postgresql://u:secret@h/d?sslmode=perhaps", "parameter sslmode that is none of disable, allow, prefer"),
        ("postgresql://u:secret@h/d?sslrootcert=system&sslmode=require", "which needs sslmode=verify-full"),
        ("postgresql://u:secret@h/d?target_session_attrs=master", "target_session_attrs that is none of any, primary"),
    ],
)
def test_the_reason_is_the_right_one(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^the database URL ") as raised:
        asyncpg_url(url)
    assert reason in str(raised.value)


def test_choices_are_those_of_asyncpg() -> None:
    assert {name: set(choices) for name, choices in database_url._CHOICES.items()} == {
        "sslmode": {mode.name.replace("_", "-") for mode in connect_utils.SSLMode},
        "target_session_attrs": {attribute.value for attribute in connect_utils.SessionAttribute},
    }


@pytest.mark.parametrize("url", UNUSABLE)
def test_unusable_urls_are_told_without_any_part_of_them(url: str) -> None:
    for function in (asyncpg_url, shown_target):
        with pytest.raises(ValueError, match=r"^the database URL ") as raised:
            function(url)
        assert not any(part in str(raised.value) for part in ("secret", "12", "u:"))
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None


@given(st.text(alphabet="ab12/?#@:[]%&=,. \n\N{DOUBLE EXCLAMATION MARK}", max_size=12))
def test_no_password_shows_unless_it_is_written_as_a_host(password: str) -> None:
    """In front of `@host/db`, the password may be of any characters."""
    url = f"postgresql://user:{password}@host/db"
    try:
        shown = shown_target(url)
    except ValueError as error:
        assert str(error).startswith("the database URL ")
    else:
        assert shown == "host:5432/db"


@given(st.text(max_size=60) | st.from_regex(r"postgres(ql)?(\+\w+)?://[\w@:,\[\]./?=&%#-]*", fullmatch=True))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    try:
        shown = shown_target(text)
    except ValueError as error:
        assert str(error).startswith("the database URL ")
        return
    try:
        dsn_of_asyncpg(asyncpg_url(text))
    except (ValueError, asyncpg.InterfaceError, OSError):
        pass  # of a parameter's value, a certificate's file
    assert "\n" not in shown


def test_all_who_connect_ask_the_same_parser() -> None:
    assert connection.read_url is read_url
    assert queries.read_url is read_url
    for url, _ in USABLE:
        connection.Database(url)
    for url in UNUSABLE:
        with pytest.raises(ObservabilityError, match=r"^the database URL .*: expected postgresql://[^\n]+$") as raised:
            asyncio.run(queries.read_only_session(url, 1.0).__aenter__())
        assert "secret" not in str(raised.value)
        with pytest.raises(ValueError, match="the database URL"):
            connection.Database(url)
