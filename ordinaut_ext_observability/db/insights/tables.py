"""How the host's tables are read, how big they are, and whether they are vacuumed and analysed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ordinaut_ext_observability.db.insights.queries import Connection, read_rows

HOST_TABLES = ("agent", "apscheduler_jobs", "audit_log", "due_work", "task", "task_run", "worker_heartbeat")
"""`apscheduler_jobs` is made by the scheduler when it first starts."""


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
    """Since the last one; None: never, or not since the statistics were reset."""
    vacuum_age_seconds: float | None
    """Since the last one by autovacuum or by hand."""
    analyze_age_seconds: float | None
    """Since the last one by autovacuum or by hand."""

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


async def read_tables(connection: Connection, names: Sequence[str] = HOST_TABLES) -> Tables:
    """Read the statistics of these tables."""
    found = await read_rows(connection, TableUsage, "tables", list(names))
    present = {table.name for table in found}
    return Tables(found, tuple(name for name in names if name not in present))
