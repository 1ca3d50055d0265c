"""The queries, each a file beside this one, and the one place that runs them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias, TypeVar

import asyncpg

from ordinaut_ext_observability.scrub.sql import normalised

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
RowT = TypeVar("RowT")

_BROKEN = (
    OSError,  # a server that does not answer in time is one, too
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


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
    text = _text(name)
    for placeholder, replacement in replacements.items():
        text = text.replace(f":{placeholder}", replacement)
    return [_shown(row) for row in await connection.fetch(text, *arguments)]


def breaks_connection(error: BaseException) -> bool:
    """Tell whether no other query can be run on the connection after this error."""
    return isinstance(error, _BROKEN) and not isinstance(error, asyncpg.QueryCanceledError)


@cache
def _text(name: str) -> str:
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return values | {"query": normalised(values["query"] or "")} if "query" in values else values
