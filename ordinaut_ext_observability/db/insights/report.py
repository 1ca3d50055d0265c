"""The state of the database, read part by part, and what of it needs attention first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import asyncpg

from ordinaut_ext_observability.db.insights import views
from ordinaut_ext_observability.db.insights.indexes import Index
from ordinaut_ext_observability.db.insights.locks import Locks, read_locks
from ordinaut_ext_observability.db.insights.queries import Connection, read_row, read_rows
from ordinaut_ext_observability.postgresql.connection import concerns_statement, postgresql_problem

_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_TIME_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1), ("", 1))


def bytes_text(number: float) -> str:
    """A size with two or three digits, in units of 1024."""
    unit = max(0, min((int(number).bit_length() - 1) // 10, len(_BYTE_UNITS) - 1))  # each has 10 bits more
    number /= 1024**unit
    return f"{number:.1f} {_BYTE_UNITS[unit]}" if unit and number < 10 else f"{number:.0f} {_BYTE_UNITS[unit]}"


def duration_text(seconds: float) -> str:
    """A duration in its largest unit and the next: `2 h 5 min`, `12 s`, `3 ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 or seconds == 0 else f"{seconds * 1e6:.0f} µs"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    (unit, size), (smaller, smaller_size) = next(pair for pair in pairwise(_TIME_UNITS) if left >= pair[0][1])
    part = left % size // smaller_size
    return f"{left // size} {unit} {part} {smaller}" if part else f"{left // size} {unit}"


FULL_RATIO = 0.8
"""Connections in use, of those that are not reserved."""
IDLE_SECONDS = 60.0
"""Ordinaut's transactions are idle for milliseconds."""
TRANSACTION_SECONDS = 3600.0
"""A transaction this old keeps vacuum from removing what was deleted since it began."""
XID_RATIO = 0.5
"""Autovacuum freezes at a tenth: halfway, something holds it up."""
DEAD_RATIO = 0.5
MIN_DEAD_ROWS = 10_000
"""Autovacuum comes at a fifth of a table; more than half dead means it does not."""


@dataclass(frozen=True, slots=True)
class PartProblem:
    """A part that could not be read."""

    part: str
    reason: str
    """The value of a `Problem`."""
    message: str
    """PostgreSQL's, without the statement."""


@dataclass(frozen=True, slots=True)
class Report:
    """The state of the database. A part that was not asked for is None, as is one that `problems` names."""

    server: views.Server | None = None
    connections: views.Connections | None = None
    longest: views.Longest | None = None
    locks: Locks | None = None
    transactions: tuple[views.Transaction, ...] | None = None
    statements: views.Statements | None = None
    tables: views.Tables | None = None
    indexes: tuple[Index, ...] | None = None
    xid_age: views.XidAge | None = None
    problems: tuple[PartProblem, ...] = ()

    def attention(self) -> Iterator[str]:
        """List what should be looked at, the worst first."""
        if self.locks is not None and self.locks.waiting:
            roots = ", ".join(str(root.pid) for root in self.locks.roots[:5])
            yield f"{self.locks.waiting} blocked by locks; at the head: {roots}"
        if self.xid_age is not None and self.xid_age.used_ratio >= XID_RATIO:
            yield f"{self.xid_age.used_ratio:.0%} of the transaction ids used up in {self.xid_age.oldest_database}"
        if self.server is not None and self.connections is not None:
            usable = self.server.usable_connections
            if self.connections.total >= FULL_RATIO * usable:
                yield f"{self.connections.total} of {usable} connections in use"
        if self.longest is not None and self.longest.idle_in_transaction_seconds >= IDLE_SECONDS:
            yield f"a transaction idle for {duration_text(self.longest.idle_in_transaction_seconds)}"
        if self.longest is not None and self.longest.transaction_seconds >= TRANSACTION_SECONDS:
            yield f"a transaction open for {duration_text(self.longest.transaction_seconds)}"
        yield from self._of_tables()

    def _of_tables(self) -> Iterator[str]:
        for table in self.tables.found if self.tables is not None else ():
            if table.dead_rows >= MIN_DEAD_ROWS and table.dead_rows >= DEAD_RATIO * (table.rows + table.dead_rows):
                yield f"{table.name} has more dead rows ({table.dead_rows:,}) than live ones"
        for index in self.indexes or ():
            if not index.is_valid:
                yield f"index {index.name} is invalid: it failed to build, or is being built"


ReadPart = Callable[[Connection], Awaitable[Any]]

MEASURED: Mapping[str, ReadPart] = {
    "server": partial(read_row, views.Server, "server"),
    "connections": views.read_connections,
    "longest": partial(read_row, views.Longest, "longest"),
    "locks": read_locks,
    "xid_age": partial(read_row, views.XidAge, "xid"),
    "tables": views.read_tables,
    "statements": views.read_statements,
}
"""Parts of a report that metrics show."""


async def read_report(connection: Connection, top: int) -> Report:
    """Read everything an operator looks at, `top` rows of what has many."""
    more: dict[str, ReadPart] = {
        "transactions": lambda connection: read_rows(views.Transaction, "transactions", connection, top),
        "statements": partial(views.read_statements, limit=top, with_texts=True),
        "indexes": lambda connection: read_rows(Index, "indexes", connection, views.HOST_TABLES),
    }
    return await read_parts(connection, {**MEASURED, **more})


async def read_parts(connection: Connection, parts: Mapping[str, ReadPart] = MEASURED) -> Report:
    """Read these parts from the system views, one after the other; no table of the host's is read.

    The caller sets `statement_timeout` and `lock_timeout`. Inside a transaction each part has its own savepoint: one
    that PostgreSQL refuses leaves the others. Raises OSError, asyncpg.InterfaceError or asyncpg.PostgresError where the
    connection is gone.
    """
    found: dict[str, Any] = {}
    problems = []
    for name, read_part in parts.items():
        try:
            async with connection.transaction(readonly=True):
                found[name] = await read_part(connection)
        except asyncpg.InternalClientError as error:  # how asyncpg now and then says that the connection is gone
            raise asyncpg.InterfaceError("the connection broke") from error
        except (asyncpg.PostgresError, UnicodeError) as error:  # texts of other databases have their encoding
            if not concerns_statement(error):
                raise
            message = str(error).partition("\n")[0][:200]
            problems.append(PartProblem(name, postgresql_problem(error).value, message))
    return Report(**found, problems=tuple(problems))
