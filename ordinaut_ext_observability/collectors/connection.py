"""The collectors' own connection to PostgreSQL: one, read-only, every wait bounded."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from ordinaut_ext_observability.collectors.problems import concerns_statement
from ordinaut_ext_observability.collectors.queries import query
from ordinaut_ext_observability.postgresql.connection import connect
from ordinaut_ext_observability.postgresql.url import asyncpg_url


@dataclass(frozen=True, slots=True)
class Limits:
    """How long anything may take, in seconds."""

    connect: float = 5.0
    statement: float = 3.0
    lock: float = 0.5
    idle: float = 10.0
    """Until the server ends a transaction of ours that does nothing."""

    @property
    def answer(self) -> float:
        """Until a server that was to cancel the statement is taken to hang."""
        return self.statement + 1.0


def instant(seconds: float) -> datetime:
    """The parameter of a statement for a time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """A transaction in which everything is of one moment."""

    connection: asyncpg.Connection[asyncpg.Record]
    now: float
    """When it began by the server's clock, in seconds since 1970."""

    async def rows(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        """What the statement in this file returns."""
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
    async def part(self) -> AsyncIterator[None]:
        """What fails within is undone alone: a savepoint."""
        async with _transaction(self.connection, self.connection.transaction()):
            yield


class Database:
    """Connects when it is first asked for something, and again when the connection is gone."""

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        """
        Raises:
            ValueError: it is not a URL of PostgreSQL's.
        """
        self.limits = limits or Limits()
        self._url = asyncpg_url(url)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Reading]:
        """A transaction that reads."""
        connection = await self._connected()
        # Poolers that share sessions between clients look for the end of a transaction: there is nothing outside one.
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        async with _transaction(connection, transaction):
            limits = self.limits
            row = await connection.fetchrow(
                query("limits"), _text(limits.statement), _text(limits.lock), _text(limits.idle)
            )
            assert row is not None  # noqa: S101 - it selects constants
            yield Reading(connection, row["now"])

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

    async def _connected(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self.drop()
            self._connection = await connect(
                self._url, timeout_seconds=self.limits.connect, answer_seconds=self.limits.answer
            )
        return self._connection


@contextlib.asynccontextmanager
async def _transaction(connection: asyncpg.Connection[asyncpg.Record], transaction: Any) -> AsyncIterator[None]:
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


def _text(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
