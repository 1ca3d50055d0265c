"""What an error of asyncpg's, of the network's or of the server's means to an operator."""

from __future__ import annotations

import ssl

import asyncpg

from ordinaut_ext_observability.errors import Problem

_BY_STATE = {
    "28000": Problem.REFUSED,
    "28P01": Problem.REFUSED,
    "3D000": Problem.REFUSED,
    "53300": Problem.TOO_MANY_CONNECTIONS,
    "42501": Problem.NO_PERMISSION,
    "42P01": Problem.MISSING_TABLE,
    "42703": Problem.MISSING_TABLE,
    "42704": Problem.MISSING_TABLE,
    "3F000": Problem.MISSING_TABLE,
    "57014": Problem.TIMEOUT,
    "55P03": Problem.TIMEOUT,
    "25P03": Problem.TIMEOUT,
    "57P05": Problem.TIMEOUT,
    "57P01": Problem.UNREACHABLE,
    "57P02": Problem.UNREACHABLE,
    "57P03": Problem.UNREACHABLE,
}
_CONNECTION_CLASS = "08"

LASTING = frozenset({Problem.NO_PERMISSION, Problem.MISSING_TABLE})
"""Asking less often would not help: somebody has to grant or make something."""


def postgresql_problem(error: BaseException) -> Problem:
    """The reason why a connection or a statement failed."""
    if isinstance(error, TimeoutError):
        return Problem.TIMEOUT
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        in_class = Problem.UNREACHABLE if state.startswith(_CONNECTION_CLASS) else Problem.FAILED
        return _BY_STATE.get(state, in_class)
    if isinstance(error, ssl.SSLError):
        return Problem.REFUSED
    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.TargetServerAttributeNotMatched)):
        # A closed connection is an interface error to asyncpg. And who asks for a primary, and finds none, has none.
        return Problem.UNREACHABLE
    return Problem.FAILED


def concerns_statement(error: BaseException) -> bool:
    """True where only the statement failed, and others on the same connection need not."""
    if isinstance(error, asyncpg.PostgresError):
        problem = postgresql_problem(error)
        return problem not in {Problem.UNREACHABLE, Problem.REFUSED, Problem.TOO_MANY_CONNECTIONS}
    return not isinstance(error, (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError))
