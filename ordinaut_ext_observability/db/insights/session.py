"""A connection for one look at the database: it can change nothing, waits for little, and never shows the password."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.postgresql import url as database_url
from ordinaut_ext_observability.postgresql.connection import FAILURES, connect

if TYPE_CHECKING:
    from ordinaut_ext_observability.db.insights.queries import Connection

LOCK_TIMEOUT_SECONDS = 0.5
"""Nothing here needs a lock that anybody holds for long, but for a table that is being altered."""

_BROKEN = (
    OSError,  # a server that does not answer in time is one, too
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


class NoConnectionError(ObservabilityError):
    """The database cannot be connected to."""


@asynccontextmanager
async def read_only_session(url: str, timeout_seconds: float) -> AsyncIterator[Connection]:
    """A connection inside a read-only transaction, each statement of which may take `timeout_seconds`.

    Limits are set for the transaction, so that a pooler in between may give the server's connection to others after it.

    Raises:
        NoConnectionError: the URL is not usable, or the server does not let us in, or the connection breaks; one
            line, without secrets.
    """
    connection = await _connect(url, timeout_seconds)
    try:
        async with connection.transaction(readonly=True):
            try:
                await connection.execute(
                    f"SET LOCAL statement_timeout = {int(timeout_seconds * 1000)};"
                    f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT_SECONDS * 1000)}"
                )
                yield connection
            except OSError:
                connection.terminate()  # else a server that hangs would be waited for to undo what it did not do
                raise
    except _BROKEN as error:
        if isinstance(error, asyncpg.QueryCanceledError):
            raise
        raise NoConnectionError(f"{shown_target(url)}: the connection broke") from error
    finally:
        with suppress(OSError, *_BROKEN):
            await connection.close(timeout=timeout_seconds)


async def _connect(url: str, timeout_seconds: float) -> Connection:
    shown_target(url)
    try:
        return await connect(url, timeout_seconds=timeout_seconds, answer_seconds=timeout_seconds + 1.0)
    except FAILURES as error:
        raise NoConnectionError("; ".join(error.__notes__)) from None


def shown_target(url: str) -> str:
    """The server and database as `host:port/database`.

    Raises:
        NoConnectionError: it is no URL of a PostgreSQL database, or one of which no part can be shown for certain.
    """
    try:
        return database_url.shown_target(url)
    except ValueError as error:
        hint = "expected postgresql://user:password@host:port/database"
        raise NoConnectionError(f"{error}: {hint}") from None
