"""Everything an operator looks at, and what of it needs attention first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ordinaut_ext_observability.db.insights.activity import (
    Connections,
    Longest,
    Transaction,
    read_connections,
    read_longest,
    read_transactions,
)
from ordinaut_ext_observability.db.insights.collect import PartProblem, Parts
from ordinaut_ext_observability.db.insights.indexes import Index, read_indexes
from ordinaut_ext_observability.db.insights.locks import Locks, read_locks
from ordinaut_ext_observability.db.insights.quantities import duration_text
from ordinaut_ext_observability.db.insights.server import Server, XidAge, read_server, read_xid_age
from ordinaut_ext_observability.db.insights.statements import Statements, read_statements
from ordinaut_ext_observability.db.insights.tables import Tables, read_tables

if TYPE_CHECKING:
    from ordinaut_ext_observability.db.insights.queries import Connection

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
class Report:
    """The state of the database; a part that could not be read is None, and `problems` says why."""

    server: Server | None
    connections: Connections | None
    longest: Longest | None
    locks: Locks | None
    transactions: tuple[Transaction, ...] | None
    statements: Statements | None
    tables: Tables | None
    indexes: tuple[Index, ...] | None
    xid_age: XidAge | None
    problems: tuple[PartProblem, ...]

    def attention(self) -> Iterator[str]:
        """What should be looked at, the worst first."""
        if self.locks is not None and self.locks.waiting:
            roots = ", ".join(str(root.pid) for root in self.locks.roots[:5])
            yield f"{self.locks.waiting} blocked by locks; at the head: {roots}"
        yield from self._of_the_server()
        yield from self._of_transactions()
        yield from self._of_tables()

    def _of_the_server(self) -> Iterator[str]:
        if self.xid_age is not None and self.xid_age.used_ratio >= XID_RATIO:
            yield f"{self.xid_age.used_ratio:.0%} of the transaction ids used up in {self.xid_age.oldest_database}"
        if self.server is not None and self.connections is not None:
            usable = self.server.max_connections - self.server.reserved_connections
            if self.connections.total >= FULL_RATIO * usable:
                yield f"{self.connections.total} of {usable} connections in use"

    def _of_transactions(self) -> Iterator[str]:
        if self.longest is None:
            return
        if self.longest.idle_in_transaction_seconds >= IDLE_SECONDS:
            yield f"a transaction idle for {duration_text(self.longest.idle_in_transaction_seconds)}"
        if self.longest.transaction_seconds >= TRANSACTION_SECONDS:
            yield f"a transaction open for {duration_text(self.longest.transaction_seconds)}"

    def _of_tables(self) -> Iterator[str]:
        for table in self.tables.found if self.tables is not None else ():
            if table.dead_rows >= MIN_DEAD_ROWS and table.dead_rows >= DEAD_RATIO * (table.rows + table.dead_rows):
                yield f"{table.name} has more dead rows ({table.dead_rows:,}) than live ones"
        for index in self.indexes or ():
            if not index.is_valid:
                yield f"index {index.name} is invalid: it failed to build, or is being built"


async def read_report(connection: Connection, top: int) -> Report:
    """Read it all, `top` rows of what has many."""
    parts = Parts(connection)
    return Report(
        server=await parts.read("server", read_server),
        connections=await parts.read("connections", read_connections),
        longest=await parts.read("longest", read_longest),
        locks=await parts.read("locks", read_locks),
        transactions=await parts.read("transactions", partial(read_transactions, limit=top)),
        statements=await parts.read("statements", partial(read_statements, limit=top, with_texts=True)),
        tables=await parts.read("tables", read_tables),
        indexes=await parts.read("indexes", read_indexes),
        xid_age=await parts.read("xid", read_xid_age),
        problems=tuple(parts.problems),
    )
