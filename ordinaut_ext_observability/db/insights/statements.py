"""The statements that take most time, where the extension pg_stat_statements counts them."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from ordinaut_ext_observability.db.insights.queries import Connection, fetch, read_rows
from ordinaut_ext_observability.metrics.declarations.database import MAX_STATEMENTS


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, counted since the extension's statistics were last reset."""

    id: str
    """PostgreSQL's `queryid`: the same for statements that differ in their literals only."""
    calls: int
    seconds: float
    """All calls together."""
    rows: int
    query: str
    """Empty when texts were not asked for."""

    @property
    def mean_seconds(self) -> float:
        """Mean time of one call."""
        return self.seconds / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Statements:
    """The top of them."""

    top: tuple[Statement, ...]
    """Statements by time, the longest first."""
    hidden_seconds: float
    """Taken by statements of other roles that ours may not see."""
    absent: str
    """Why there are none; empty when they are counted."""


async def read_statements(
    connection: Connection, limit: int = MAX_STATEMENTS, *, with_texts: bool = False
) -> Statements:
    """Read the statements of this database that took most time. Texts are read from a file of the server's."""
    installed = await fetch(connection, "statements_extension")
    if not installed:
        return Statements((), 0.0, "the extension pg_stat_statements is not installed in this database")
    replacements = {name: installed[0][name] for name in ("schema", "total")} | {"texts": str(with_texts).lower()}
    try:
        async with connection.transaction():  # a savepoint where there is a transaction: its failure stays here
            found = await read_rows(Statement, "statements", connection, limit, **replacements)
    except asyncpg.ObjectNotInPrerequisiteStateError:
        return Statements((), 0.0, "pg_stat_statements is installed, but not in shared_preload_libraries")
    seen = tuple(statement for statement in found if statement.id)
    return Statements(seen[:limit], sum(statement.seconds for statement in found if not statement.id), "")
