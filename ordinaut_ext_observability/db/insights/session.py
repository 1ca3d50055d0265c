"""A connection for one look at the database: it can change nothing, waits for little, and never shows the password."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from ordinaut_ext_observability import database_url
from ordinaut_ext_observability.errors import ObservabilityError

if TYPE_CHECKING:
    from ordinaut_ext_observability.db.insights.queries import Connection

APPLICATION = "ordinaut-observability"
LOCK_TIMEOUT_SECONDS = 0.5
"""Nothing here needs a lock that anybody holds for long, but for a table that is being altered."""

_BROKEN = (
    ConnectionError,
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
            await connection.execute(
                f"SET LOCAL statement_timeout = {int(timeout_seconds * 1000)};"
                f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT_SECONDS * 1000)}"
            )
            yield connection
    except _BROKEN as error:
        if isinstance(error, asyncpg.QueryCanceledError):
            raise
        raise NoConnectionError(f"{shown_target(url)}: the connection broke") from error
    finally:
        with suppress(OSError, *_BROKEN):
            await connection.close(timeout=timeout_seconds)


async def _connect(url: str, timeout_seconds: float) -> Connection:
    target = shown_target(url)
    try:
        return await asyncpg.connect(
            database_url.asyncpg_url(url),
            timeout=timeout_seconds,
            # Prepared statements do not survive a pooler that changes connections between transactions.
            statement_cache_size=0,
            server_settings={"application_name": APPLICATION},
        )
    except TimeoutError:
        raise NoConnectionError(f"{target}: no answer within {timeout_seconds:g} s") from None
    except OSError as error:
        raise NoConnectionError(f"{target}: {_os_reason(error)}") from None
    except asyncpg.PostgresError as error:
        raise NoConnectionError(f"{target}: {str(error).partition(chr(10))[0]}") from None
    except (ValueError, asyncpg.InterfaceError):
        # What these say may quote the URL.
        raise NoConnectionError(f"{target}: the URL has a part that cannot be used") from None


def _os_reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "nobody listens there"
    return error.strerror or type(error).__name__


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
