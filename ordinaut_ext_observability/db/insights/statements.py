"""The statements that take most time, where the extension pg_stat_statements counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ordinaut_ext_observability.db.insights.queries import query
from ordinaut_ext_observability.metrics.declarations.database_server import MAX_STATEMENTS
from ordinaut_ext_observability.scrub.sql import normalised

if TYPE_CHECKING:
    from ordinaut_ext_observability.db.insights.queries import Connection

_INSTALLED = """
SELECT e.extversion AS version, quote_ident(n.nspname) AS schema
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, counted since the extension's statistics were last reset."""

    id: str
    """PostgreSQL's `queryid`: the same for statements that differ in their literals only."""
    calls: int
    seconds: float
    """Of all calls together."""
    rows: int
    query: str
    """Empty when texts were not asked for."""

    @property
    def mean_seconds(self) -> float:
        """Of one call."""
        return self.seconds / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Statements:
    """The top of them."""

    top: tuple[Statement, ...]
    """By time, the longest first."""
    hidden_seconds: float
    """Taken by statements of other roles that ours may not see."""
    absent: str
    """Why there are none; empty when they are counted."""


async def read_statements(
    connection: Connection, limit: int = MAX_STATEMENTS, *, with_texts: bool = False
) -> Statements:
    """The statements of this database that took most time. Texts are read from a file of the server's."""
    import asyncpg

    installed = await connection.fetch(_INSTALLED)
    if not installed:
        return Statements((), 0.0, "the extension pg_stat_statements is not installed in this database")
    major, minor = (int(part) for part in installed[0]["version"].split(".")[:2])
    text = query(
        "statements",
        schema=installed[0]["schema"],
        total="total_exec_time" if (major, minor) >= (1, 8) else "total_time",
        texts="true" if with_texts else "false",
    )
    try:
        async with connection.transaction():  # a savepoint where there is a transaction: its failure stays here
            rows = await connection.fetch(text, limit)
    except asyncpg.ObjectNotInPrerequisiteStateError:
        return Statements((), 0.0, "pg_stat_statements is installed, but not in shared_preload_libraries")
    hidden = sum(row["seconds"] for row in rows if row["id"] is None)
    top = [
        Statement(str(row["id"]), row["calls"], row["seconds"], row["rows"], normalised(row["query"] or ""))
        for row in rows
        if row["id"] is not None
    ]
    return Statements(tuple(top[:limit]), hidden, "")
