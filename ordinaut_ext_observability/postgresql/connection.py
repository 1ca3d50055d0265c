"""Connecting to PostgreSQL, the same way for collectors and commands, and what its errors mean to an operator.

A session is given a name and nothing else, since poolers refuse what they do not know. What it needs is set in each
transaction: begun read-only, it would be none for a URL that asks for `target_session_attrs=read-write`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.postgresql.url import read_url

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

APPLICATION_NAME = "ordinaut-observability"

FAILURES = (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors of connecting: no server reached in time, a URL that is none or asks for what there is not, a refusal."""

_TRY_NEXT = (OSError, asyncpg.TargetServerAttributeNotMatched, asyncpg.CannotConnectNowError)
"""After these the next server of a URL is tried, as libpq does; a wrong password is wrong everywhere."""

_STATES = {
    Problem.REFUSED: ("28000", "28P01", "3D000"),
    Problem.TOO_MANY_CONNECTIONS: ("53300",),
    Problem.NO_PERMISSION: ("42501",),
    Problem.MISSING_TABLE: ("42P01", "42703", "42704", "42883", "3F000"),
    Problem.TIMEOUT: ("57014", "55P03", "25P03", "57P05"),
    Problem.UNREACHABLE: ("57P01", "57P02", "57P03"),
}
_BY_STATE = {state: problem for problem, states in _STATES.items() for state in states}


async def connect(url: str, *, timeout_seconds: float, answer_seconds: float) -> Connection:
    """Connect to the first server of the URL that is as its `target_session_attrs` asks.

    `timeout_seconds` is for all its servers together; a statement whose answer takes longer than `answer_seconds`
    raises TimeoutError. Raises one of `FAILURES`, with a note for each server: its name, and what it said.
    """
    target = read_url(url)
    prefers_standby = target.parameters.get("target_session_attrs") == "prefer-standby" and len(target.servers) > 1
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    notes: list[str] = []
    decisive: Exception = OSError("no server is named")
    for attributes in ("standby", "any") if prefers_standby else (None,):
        for number, server in enumerate(target.servers):
            left = max(0.01, deadline - asyncio.get_running_loop().time()) / (len(target.servers) - number)
            try:
                return await asyncpg.connect(
                    target.url(server),  # asked together, they do not tell which of them refused
                    timeout=left,
                    command_timeout=answer_seconds,
                    statement_cache_size=0,  # a prepared statement belongs to a session, which a pooler may change
                    server_settings={"application_name": APPLICATION_NAME},
                    target_session_attrs=attributes,
                    # asyncpg takes `sslrootcert` for a file's name.
                    ssl=True if target.parameters.get("sslrootcert") == "system" else None,
                )
            except FAILURES as error:
                notes.append(f"{target.shown(server)}: {_reason(error, left)}")
                if not isinstance(decisive, asyncpg.TargetServerAttributeNotMatched):
                    decisive = error
                if not isinstance(error, _TRY_NEXT):
                    break
    for note in dict.fromkeys(notes):
        decisive.add_note(note)
    raise decisive


@cache
def query_text(package: str, name: str) -> str:
    """The statement in the file of this name in a package."""
    return files(package).joinpath(f"{name}.sql").read_text("utf-8")


def _reason(error: Exception, seconds: float) -> str:
    """Why a server could not be connected to, without secrets."""
    text = str(error)
    match error:
        case TimeoutError():
            reason = f"no answer within {seconds:.2g} s"
        case OSError() if "Connect call failed" in text or isinstance(error, ConnectionRefusedError):
            reason = "nobody listens there"
        case OSError() if "rejected SSL upgrade" in text:
            reason = "the server does not speak TLS, which sslmode asks for"
        case FileNotFoundError():
            reason = "there is no such socket, or no such certificate file"
        case OSError():
            reason = error.strerror or type(error).__name__
        case asyncpg.TargetServerAttributeNotMatched():
            reason = "the server is not what target_session_attrs asks for"
        case asyncpg.PostgresError():
            reason = text.partition("\n")[0]
        case _ if "certificate" in text:
            reason = "a certificate file that sslmode or sslrootcert asks for cannot be read"
        case _:
            reason = "the URL has a part that cannot be used"  # what the error says may quote it
    return reason


def postgresql_problem(error: BaseException) -> Problem:
    """The reason why a connection or a statement failed."""
    if isinstance(error, TimeoutError):
        return Problem.TIMEOUT
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        in_class = Problem.UNREACHABLE if state.startswith("08") else Problem.FAILED
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


@contextlib.asynccontextmanager
async def undone_alone(connection: Connection, **options: Any) -> AsyncIterator[None]:
    """A transaction, or a savepoint within one: what fails in it is undone, where only a statement failed.

    Not the way of asyncpg's, which would wait for a server that hangs to undo what it did not do.
    """
    transaction = connection.transaction(**options)
    await transaction.start()
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) and concerns_statement(error):
            await transaction.rollback()
        else:
            connection.terminate()
        raise
    await transaction.commit()
