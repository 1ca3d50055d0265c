"""Who is connected, and what transactions are open."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ordinaut_ext_observability.db.insights.queries import query
from ordinaut_ext_observability.scrub.sql import normalised

if TYPE_CHECKING:
    from ordinaut_ext_observability.db.insights.queries import Connection

MAX_APPLICATIONS = 10
OTHER_APPLICATIONS = "(others)"


@dataclass(frozen=True, slots=True)
class Connections:
    """Client connections of the whole server but our own."""

    total: int
    of_this_database: int
    by_state: dict[str, int]
    """By PostgreSQL's states; `hidden`: of another role, and ours may not see more."""
    by_application: dict[str, int]
    """The most frequent application names, and `(others)`."""

    @property
    def active(self) -> int:
        """Those that run a statement now, as far as they can be seen."""
        return self.by_state.get("active", 0)

    @property
    def hidden(self) -> int:
        """Those whose state cannot be seen."""
        return self.by_state.get("hidden", 0)


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction."""

    pid: int
    role: str
    application: str
    state: str
    transaction_seconds: float
    state_seconds: float | None
    """How long it has been active, or idle."""
    waits_for: str
    """PostgreSQL's type and name of the wait, empty when it waits for nothing."""
    query: str
    """The statement that runs or, when idle, ran last; without literals."""


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest ones of this database, in seconds; 0 when there are none."""

    transaction_seconds: float
    idle_in_transaction_seconds: float
    """How long it has been idle, not how long its transaction is open."""
    query_seconds: float
    hidden: int
    """Sessions of this database that are not looked at, for want of the right to."""


async def read_connections(connection: Connection) -> Connections:
    """Client connections by state and by application."""
    by_state: Counter[str] = Counter()
    by_application: Counter[str] = Counter()
    of_this_database = 0
    for row in await connection.fetch(query("connections")):
        by_state[row["state"]] += row["number"]
        by_application[row["application"]] += row["number"]
        of_this_database += row["number"] if row["is_ours"] else 0
    most = dict(by_application.most_common(MAX_APPLICATIONS))
    if others := by_application.total() - sum(most.values()):
        most[OTHER_APPLICATIONS] = most.get(OTHER_APPLICATIONS, 0) + others
    return Connections(by_state.total(), of_this_database, dict(by_state), most)


async def read_longest(connection: Connection) -> Longest:
    """How long the longest transaction, idleness and statement of this database last."""
    (row,) = await connection.fetch(query("longest"))
    return Longest(
        transaction_seconds=max(0.0, row["transaction_seconds"]),
        idle_in_transaction_seconds=max(0.0, row["idle_seconds"]),
        query_seconds=max(0.0, row["query_seconds"]),
        hidden=row["hidden"],
    )


async def read_transactions(connection: Connection, limit: int = 10) -> tuple[Transaction, ...]:
    """The oldest open transactions of this database that our role may see."""
    return tuple(
        Transaction(
            pid=row["pid"],
            role=row["role"],
            application=row["application"],
            state=row["state"],
            transaction_seconds=max(0.0, row["transaction_seconds"]),
            state_seconds=row["state_seconds"],
            waits_for=row["waits_for"],
            query=normalised(row["query"] or ""),
        )
        for row in await connection.fetch(query("transactions"), limit)
    )
