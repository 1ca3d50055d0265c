"""The collectors' own connection to PostgreSQL: one, read-only, every wait bounded."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from ordinaut_ext_observability.collectors.queries import query
from ordinaut_ext_observability.postgresql.connection import concerns_statement, connect
from ordinaut_ext_observability.postgresql.url import read_url


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Longest times of single steps, in seconds."""

    connect: float = 5.0
    statement: float = 3.0
    lock: float = 0.5
    idle: float = 10.0
    """Until the server ends a transaction of ours that does nothing."""


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

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo alone what fails within."""
        async with _undone_alone(self.connection, self.connection.transaction()):
            yield


class Database:
    """Connects when it is first asked for something, and again when the connection is gone."""

    def __init__(self, url: str, limits: QueryLimits | None = None) -> None:
        """
        Raises:
            ValueError: it is not a URL of PostgreSQL's.
        """
        self._limits = limits or QueryLimits()
        self._url = read_url(url).url()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[ReadTransaction]:
        """Begin a transaction that reads; all limits are set in it."""
        limits = self._limits
        if self._connection is None or self._connection.is_closed():
            self.drop()
            # A second after it was to cancel a statement, a server is taken to hang.
            self._connection = await connect(
                self._url, timeout_seconds=limits.connect, answer_seconds=limits.statement + 1.0
            )
        connection = self._connection
        # Poolers that share sessions between clients look for the end of a transaction: there is nothing outside one.
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        async with _undone_alone(connection, transaction):
            times = [f"{max(1, round(seconds * 1000))}ms" for seconds in (limits.statement, limits.lock, limits.idle)]
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
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=1.0)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()


@contextlib.asynccontextmanager
async def _undone_alone(connection: asyncpg.Connection[asyncpg.Record], transaction: Any) -> AsyncIterator[None]:
    """Not the way of asyncpg's, which would wait for a server that hangs to undo what it did not do."""
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
