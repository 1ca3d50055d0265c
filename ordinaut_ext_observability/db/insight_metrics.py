"""PostgreSQL's own state as metrics. They are of the process that reads it: call `clear` when another does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ordinaut_ext_observability.metrics.declarations.database import MAX_STATEMENTS, DatabaseServerMetrics
from ordinaut_ext_observability.metrics.family import Counter, Gauge
from ordinaut_ext_observability.metrics.registry import Registry

if TYPE_CHECKING:  # reading it takes the driver; every API process has the families
    from ordinaut_ext_observability.db.insights.report import Report

_OF_PARTS = {
    "xid_age": ("xid_age", "server_age"),
    "cache_hit_ratio": ("server", "cache_hit_ratio"),
    "max_connections": ("server", "usable_connections"),
    "longest_transaction": ("longest", "transaction_seconds"),
    "longest_query": ("longest", "query_seconds"),
    "longest_idle": ("longest", "idle_in_transaction_seconds"),
    "blocked": ("locks", "waiting"),
}
"""Gauges without labels: the part of a report and the field of it that each shows."""

_OF_TABLES = {
    "scan_ratio": "index_scan_ratio",
    "dead_tuples": "dead_rows",
    "autovacuum_age": "autovacuum_age_seconds",
    "table_size": "size_bytes",
}
"""Gauges by table: the field that each shows."""


class InsightMetrics(DatabaseServerMetrics):
    """The families, and how a report becomes their values. What it does not know has no series."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._last: dict[str, Mapping[tuple[str, ...], float]] = {}
        """PostgreSQL's counts in the last report, by the counter that follows them."""

    def update(self, report: Report) -> None:
        """Show this report in place of the last."""
        for name, (part_name, field) in _OF_PARTS.items():
            part = getattr(report, part_name)
            self._show(name, {} if part is None else {(): getattr(part, field)})
        states = {} if report.connections is None else report.connections.by_state
        self._show("active", {} if report.connections is None else {(): states.get("active", 0)})
        self._show("backends", {(state,): number for state, number in states.items()})
        tables = () if report.tables is None else report.tables.found
        for name, field in _OF_TABLES.items():
            self._show(name, {(table.name,): getattr(table, field) for table in tables})
        if (server := report.server) is not None:
            self._follow(self.transactions, {("commit",): server.commits, ("rollback",): server.rollbacks})
            self._follow(self.deadlocks, {(): server.deadlocks})
            self._follow(self.temp_bytes, {(): server.temp_bytes})
            self._follow(self.blocks, {("cache",): server.blocks_from_cache, ("disk",): server.blocks_from_disk})
        if report.statements is not None:
            top = report.statements.top[:MAX_STATEMENTS]
            self._follow(self.statement_seconds, {(statement.id,): statement.seconds for statement in top})
            self._follow(self.statement_calls, {(statement.id,): statement.calls for statement in top})

    def clear(self) -> None:
        """Show no values any more: they would age, and another process reads the database now. Counters stay."""
        for name in ("active", "backends", *_OF_PARTS, *_OF_TABLES):
            self._show(name, {})
        self._last.clear()

    def _show(self, name: str, values: Mapping[tuple[str, ...], float | None]) -> None:
        gauge: Gauge = getattr(self, name)
        gauge.replace({labels: value for labels, value in values.items() if value is not None})

    def _follow(self, counter: Counter, counts: Mapping[tuple[str, ...], float]) -> None:
        """Add what these counts grew since the last report. A count that shrank was reset, and has grown from 0 since.

        The first report counts nothing: what was before it, another process may have counted. A series that is not in
        a report keeps what it counted, since a counter that vanished would turn sums over processes back; when it comes
        again, that is its first report.
        """
        last = self._last.get(counter.name, {})
        for labels, count in counts.items():
            child = counter.labels(*labels)
            if (before := last.get(labels)) is not None:
                child.inc(count - before if count >= before else count)
        self._last[counter.name] = counts
