"""PostgreSQL's system views of the server, its sessions and the host's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ordinaut_ext_observability.db.insights.queries import Connection, fetch, read_rows

XID_LIMIT = 2**31 - 3_000_000
"""The age at which PostgreSQL 14 and newer assign no more transaction ids."""

HOST_TABLES = ("agent", "apscheduler_jobs", "audit_log", "due_work", "task", "task_run", "worker_heartbeat")
"""`apscheduler_jobs` is made by the scheduler when it first starts."""

MAX_APPLICATIONS = 10


@dataclass(frozen=True, slots=True)
class Server:
    """The server, and the statistics of the current database since they were last reset."""

    database: str
    version: str
    role: str
    """The role we have."""
    sees_all: bool
    """Our role may see what other roles do (`pg_monitor`)."""
    in_recovery: bool
    """A replica, or a server that is being restored."""
    max_connections: int
    reserved_connections: int
    """Connections out of these that only superusers get."""
    commits: int
    rollbacks: int
    deadlocks: int
    temp_bytes: int
    """Written to temporary files by sorts and hashes that did not fit work_mem."""
    blocks_from_cache: int
    blocks_from_disk: int
    """Not found in PostgreSQL's buffers; the operating system may have had them."""
    statistics_age_seconds: float
    """Time since the last reset of the statistics or, without one, the start of the server: they are older then."""

    @property
    def cache_hit_ratio(self) -> float | None:
        """The share of blocks found in PostgreSQL's buffers; None before the first block."""
        blocks = self.blocks_from_cache + self.blocks_from_disk
        return self.blocks_from_cache / blocks if blocks else None

    @property
    def usable_connections(self) -> int:
        """Connections that the server takes from others than superusers."""
        return self.max_connections - self.reserved_connections


@dataclass(frozen=True, slots=True)
class XidAge:
    """Ages in transactions."""

    database_age: int
    server_age: int
    """Age of the oldest database: it stops them all."""
    oldest_database: str
    oldest_table: str
    """The oldest one of the current database."""
    oldest_table_age: int
    freeze_max_age: int
    """From here on autovacuum freezes a table whether it is switched on or not."""

    @property
    def used_ratio(self) -> float:
        """Part of the way to the stop that is behind us, 0 to 1."""
        return min(1.0, self.server_age / XID_LIMIT)


@dataclass(frozen=True, slots=True)
class Connections:
    """Client connections of the whole server but our own."""

    total: int
    of_this_database: int
    by_state: dict[str, int]
    """Numbers by PostgreSQL's states; `hidden`: another role's, of which ours may not see more."""
    by_application: dict[str, int]
    """The most frequent application names, and `(others)`."""

    @property
    def active(self) -> int:
        """Connections that run a statement now, as far as they can be seen."""
        return self.by_state.get("active", 0)


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction."""

    pid: int
    role: str
    application: str
    state: str
    transaction_seconds: float
    state_seconds: float | None
    """Time it has been active, or idle."""
    waits_for: str
    """PostgreSQL's type and name of the wait, empty when it waits for nothing."""
    query: str
    """The statement that runs or, when idle, ran last; without literals."""


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest ones of this database, in seconds; 0 when there are none."""

    transaction_seconds: float
    idle_in_transaction_seconds: float
    """Time it has been idle, not the age of its transaction."""
    query_seconds: float
    hidden: int
    """Sessions of this database that are not looked at, for want of the right to."""


@dataclass(frozen=True, slots=True)
class TableUsage:
    """One of the host's tables; counts are since the statistics were last reset."""

    name: str
    schema: str
    rows: int
    """An estimate."""
    dead_rows: int
    """Versions of rows nobody can see any more and that no vacuum has removed, an estimate."""
    size_bytes: int | None
    """With indexes; None while someone locks the table exclusively."""
    index_bytes: int | None
    sequential_scans: int
    sequential_rows: int
    """Rows read by them."""
    index_scans: int
    autovacuum_age_seconds: float | None
    """Time since the last one; None: never, or not since the statistics were reset."""
    vacuum_age_seconds: float | None
    """Time since the last one by autovacuum or by hand."""
    analyze_age_seconds: float | None
    """Time since the last one by autovacuum or by hand."""

    @property
    def index_scan_ratio(self) -> float | None:
        """The share of scans that used an index; None before the first scan."""
        scans = self.sequential_scans + self.index_scans
        return self.index_scans / scans if scans else None


@dataclass(frozen=True, slots=True)
class Tables:
    """The host's tables as found by the search path of our role."""

    found: tuple[TableUsage, ...]
    missing: tuple[str, ...]


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


async def read_transactions(connection: Connection, limit: int = 10) -> tuple[Transaction, ...]:
    """Read the oldest open transactions of this database that our role may see."""
    return await read_rows(Transaction, "transactions", connection, limit)


async def read_tables(connection: Connection, names: Sequence[str] = HOST_TABLES) -> Tables:
    """Read the statistics of these tables."""
    found = await read_rows(TableUsage, "tables", connection, list(names))
    present = {table.name for table in found}
    return Tables(found, tuple(name for name in names if name not in present))
