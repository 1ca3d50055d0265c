"""URLs of every driver, and what errors mean."""

from __future__ import annotations

import socket
import ssl

import asyncpg
import pytest

from ordinaut_ext_observability.postgresql.problems import concerns_statement, postgresql_problem
from ordinaut_ext_observability.postgresql.url import asyncpg_url
from ordinaut_ext_observability.errors import Problem


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql://u:p@h:5432/d"),
        ("postgresql+psycopg://u:p%40@h/d", "postgresql://u:p%40@h/d"),
        ("postgres://h/d", "postgresql://h/d"),
        (
            "postgresql+asyncpg://h/d?sslmode=require&connect_timeout=3&application_name=x",
            "postgresql://h/d?sslmode=require",
        ),
        ("postgresql:///d?host=/run/postgresql", "postgresql://%2Frun%2Fpostgresql/d"),
    ],
)
def test_the_url_for_asyncpg(url, expected):
    assert asyncpg_url(url) == expected


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "postgresql://u:secret@h:port/d", "u:secret@h", "//[secret"])
def test_a_url_that_cannot_be_read_is_not_repeated(url):
    with pytest.raises(ValueError, match="the database URL") as raised:
        asyncpg_url(url)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "problem", "statement_only"),
    [
        (TimeoutError(), Problem.TIMEOUT, False),
        (ConnectionRefusedError(), Problem.UNREACHABLE, False),
        (socket.gaierror(), Problem.UNREACHABLE, False),
        (asyncpg.InterfaceError("connection is closed"), Problem.UNREACHABLE, False),
        (asyncpg.ConnectionDoesNotExistError(), Problem.UNREACHABLE, False),
        (asyncpg.AdminShutdownError(), Problem.UNREACHABLE, False),
        (asyncpg.CannotConnectNowError(), Problem.UNREACHABLE, False),
        (asyncpg.InvalidPasswordError(), Problem.REFUSED, False),
        (asyncpg.InvalidAuthorizationSpecificationError(), Problem.REFUSED, False),
        (asyncpg.InvalidCatalogNameError(), Problem.REFUSED, False),
        (ssl.SSLError(), Problem.REFUSED, False),
        (asyncpg.TooManyConnectionsError(), Problem.TOO_MANY_CONNECTIONS, False),
        (asyncpg.InsufficientPrivilegeError(), Problem.NO_PERMISSION, True),
        (asyncpg.UndefinedTableError(), Problem.MISSING_TABLE, True),
        (asyncpg.UndefinedColumnError(), Problem.MISSING_TABLE, True),
        (asyncpg.QueryCanceledError(), Problem.TIMEOUT, True),
        (asyncpg.LockNotAvailableError(), Problem.TIMEOUT, True),
        (asyncpg.DivisionByZeroError(), Problem.FAILED, True),
        (KeyError(), Problem.FAILED, True),
    ],
)
def test_what_an_error_means(error, problem, statement_only):
    assert postgresql_problem(error) is problem
    assert concerns_statement(error) is statement_only
