"""The meaning of asyncpg's, the network's and the server's errors to an operator."""

from __future__ import annotations

import ssl

import asyncpg

from ordinaut_ext_observability.errors import Problem

_STATES = {
    Problem.REFUSED: ("28000", "28P01", "3D000"),
    Problem.TOO_MANY_CONNECTIONS: ("53300",),
    Problem.NO_PERMISSION: ("42501",),
    Problem.MISSING_TABLE: ("42P01", "42703", "42704", "42883", "3F000"),
    Problem.TIMEOUT: ("57014", "55P03", "25P03", "57P05"),
    Problem.UNREACHABLE: ("57P01", "57P02", "57P03"),
}
_BY_STATE = {state: problem for problem, states in _STATES.items() for state in states}
_CONNECTION_CLASS = "08"


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
