"""Who is connected, and what transactions are open."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ordinaut_ext_observability.db.insights.queries import Connection, fetch, read_rows

MAX_APPLICATIONS = 10


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
    """Count client connections by state and by application."""
    by_state: Counter[str] = Counter()
    by_application: Counter[str] = Counter()
    of_this_database = 0
    for row in await fetch(connection, "connections"):
        by_state[row["state"]] += row["number"]
        by_application[row["application"]] += row["number"]
        of_this_database += row["number"] if row["is_ours"] else 0
    most = Counter(dict(by_application.most_common(MAX_APPLICATIONS)))
    most["(others)"] += by_application.total() - most.total()
    return Connections(by_state.total(), of_this_database, dict(by_state), dict(+most))


async def read_longest(connection: Connection) -> Longest:
    """Read how long the longest transaction, idleness and statement of this database last."""
    (longest,) = await read_rows(connection, Longest, "longest")
    return longest


async def read_transactions(connection: Connection, limit: int = 10) -> tuple[Transaction, ...]:
    """Read the oldest open transactions of this database that our role may see."""
    return await read_rows(connection, Transaction, "transactions", limit)
