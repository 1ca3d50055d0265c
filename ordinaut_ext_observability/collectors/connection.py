"""The collectors' own connection to PostgreSQL: one, read-only, every wait bounded."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg

from ordinaut_ext_observability.postgresql.connection import connect, query_text, undone_alone
from ordinaut_ext_observability.postgresql.url import read_url

_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 3.0
_LOCK_SECONDS = 0.5
_IDLE_SECONDS = 10.0
"""Until the server ends a transaction of ours that does nothing."""

query = partial(query_text, f"{__package__}.queries")


def instant(seconds: float) -> datetime:
    """The parameter of a statement for a time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True, slots=True)
class ReadTransaction:
    """A transaction in which everything is of one moment."""

    connection: asyncpg.Connection[asyncpg.Record]
    now: float
    """Its beginning by the server's clock, in seconds since 1970."""

    async def rows(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows of the statement in the file of this name."""
        rows: list[asyncpg.Record] = await self.connection.fetch(query(name), *arguments)
        return rows

    async def row(self, name: str, *arguments: Any) -> asyncpg.Record:
        """The only row."""
        (row,) = await self.rows(name, *arguments)
        return row

    async def value(self, name: str, *arguments: Any) -> Any:
        """The only column of the only row."""
        return (await self.row(name, *arguments))[0]


class Database:
    """Connects when it is first asked for something, and again when the connection is gone."""

    def __init__(self, url: str) -> None:
        """Raises ValueError where it is not a URL of PostgreSQL's."""
        self._url = read_url(url).url()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[ReadTransaction]:
        """Begin a transaction that reads; all limits are set in it."""
        if self._connection is None or self._connection.is_closed():
            self.drop()
            # A second after it was to cancel a statement, a server is taken to hang.
            self._connection = await connect(
                self._url, timeout_seconds=_CONNECT_SECONDS, answer_seconds=_STATEMENT_SECONDS + 1.0
            )
        connection = self._connection
        # Poolers that share sessions between clients look for the end of a transaction: there is nothing outside one.
        async with undone_alone(connection, isolation="repeatable_read", readonly=True):
            times = (f"{round(seconds * 1000)}ms" for seconds in (_STATEMENT_SECONDS, _LOCK_SECONDS, _IDLE_SECONDS))
            row = await connection.fetchrow(query("limits"), *times)
            assert row is not None  # noqa: S101 - it selects constants
            yield ReadTransaction(connection, row["now"])

    def drop(self) -> None:
        """End the connection at once; nothing is waited for."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """End the connection in order, or else at once."""
        if self._connection is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._connection.close(timeout=1.0)
            self.drop()
