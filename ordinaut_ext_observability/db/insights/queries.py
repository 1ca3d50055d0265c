"""The queries, each a file beside this one; the one place that runs them, and a connection for one look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg

from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.postgresql.connection import (
    FAILURES,
    concerns_statement,
    connect,
    query_text,
    undone_alone,
)
from ordinaut_ext_observability.postgresql.url import read_url
from ordinaut_ext_observability.scrub.sql import normalised

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
RowT = TypeVar("RowT")

LOCK_TIMEOUT_SECONDS = 0.5
"""Nothing here needs a lock that anybody holds for long, but for a table that is being altered."""


async def read_row(row_type: type[RowT], name: str, connection: Connection) -> RowT:
    """Read the one row of a query as a dataclass that has its columns as fields."""
    (row,) = await read_rows(row_type, name, connection)
    return row


async def read_rows(
    row_type: type[RowT], name: str, connection: Connection, *arguments: Any, **replacements: str
) -> tuple[RowT, ...]:
    """Read the rows of a query likewise."""
    return tuple(row_type(**row) for row in await fetch(connection, name, *arguments, **replacements))


async def fetch(connection: Connection, name: str, *arguments: Any, **replacements: str) -> list[dict[str, Any]]:
    """Run a query; a column `query` is a statement, which is shown without its literals.

    What PostgreSQL versions call differently is a `:name` in the text, to be replaced.
    """
    text = query_text(__package__, name)
    for placeholder, replacement in replacements.items():
        text = text.replace(f":{placeholder}", replacement)
    rows = []
    for record in await connection.fetch(text, *arguments):
        row: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
        }
        if "query" in row:
            row["query"] = normalised(row["query"] or "")
        rows.append(row)
    return rows


@asynccontextmanager
async def read_only_session(url: str, timeout_seconds: float) -> AsyncIterator[Connection]:
    """A connection inside a read-only transaction, each statement of which may take `timeout_seconds`.

    Limits are set for the transaction, so that a pooler in between may give the server's connection to others after it.
    Raises ObservabilityError, one line without secrets, where the URL is not usable, the server refuses the connection,
    or the connection breaks.
    """
    try:
        target = read_url(url).shown()
        connection = await connect(url, timeout_seconds=timeout_seconds, answer_seconds=timeout_seconds + 1.0)
    except FAILURES as error:
        unusable = f"{error}: expected postgresql://user:password@host:port/database"
        raise ObservabilityError("; ".join(getattr(error, "__notes__", [unusable]))) from None
    try:
        async with undone_alone(connection, readonly=True):
            await connection.execute(
                f"SET LOCAL statement_timeout = {int(timeout_seconds * 1000)};"
                f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT_SECONDS * 1000)}"
            )
            yield connection
    except Exception as error:
        if concerns_statement(error):
            raise
        raise ObservabilityError(f"{target}: the connection broke") from error
    finally:
        with suppress(*FAILURES):
            await connection.close(timeout=timeout_seconds)
