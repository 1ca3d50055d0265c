"""The meaning of errors to an operator."""

from __future__ import annotations

import socket
import ssl

import asyncpg
import pytest

from ordinaut_ext_observability.postgresql.connection import concerns_statement, postgresql_problem
from ordinaut_ext_observability.errors import Problem


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
