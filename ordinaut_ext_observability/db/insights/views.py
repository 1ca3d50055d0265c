"""PostgreSQL's system views of the server, its sessions, the host's tables, and the statements that take most time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import asyncpg

from ordinaut_ext_observability.db.insights.queries import Connection, fetch, read_rows
from ordinaut_ext_observability.metrics.declarations.database import MAX_STATEMENTS

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
    sequential_scans: int
    sequential_rows: int
    index_scans: int
    autovacuum_age_seconds: float | None
    """Time since the last one; None: never, or not since the statistics were reset."""
    vacuum_age_seconds: float | None
    """Time since the last one by autovacuum or by hand; that of analysing likewise."""
    analyze_age_seconds: float | None

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


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, counted since the statistics of the extension pg_stat_statements were last reset."""

    id: str
    """PostgreSQL's `queryid`: the same for statements that differ in their literals only."""
    calls: int
    seconds: float
    """All calls together."""
    rows: int
    query: str
    """Empty when texts were not asked for."""


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements that take most time, where the extension counts them."""

    top: tuple[Statement, ...]
    """Statements by time, the longest first."""
    hidden_seconds: float
    """Taken by statements of other roles that ours may not see."""
    absent: str
    """Why there are none; empty when they are counted."""


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


async def read_tables(connection: Connection) -> Tables:
    """Read the statistics of the host's tables."""
    found = await read_rows(TableUsage, "tables", connection, HOST_TABLES)
    present = {table.name for table in found}
    return Tables(found, tuple(name for name in HOST_TABLES if name not in present))


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
