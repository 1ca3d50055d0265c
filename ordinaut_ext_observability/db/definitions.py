"""The metrics of database clients, as this process sees them, and of PostgreSQL itself, as its only reader does."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from ordinaut_ext_observability.db.statement import MAX_CHARACTERS, Statement, describe_statement
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.declarations.database import (
    MAX_STATEMENTS,
    DatabaseClientMetrics,
    DatabaseServerMetrics,
)
from ordinaut_ext_observability.metrics.family import Counter, Gauge
from ordinaut_ext_observability.metrics.registry import Registry

if TYPE_CHECKING:  # reading it takes the driver; every API process has the families
    from ordinaut_ext_observability.db.insights.report import Report

MAX_TEXTS = 512
"""Statements whose description is kept by their text: 2 MB of texts at most, since each is cut."""

MAX_POOLS = 64
"""Pools watched at once; what a program has beyond is not read."""

MethodT = TypeVar("MethodT", bound=Callable[..., Any])

ReadUse = Callable[[Any], Mapping[str, int]]
"""The connections of a pool by state (size, idle, used, max), without I/O; none of a pool that is closed."""

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


def harmless(method: MethodT) -> MethodT:
    """The method of an object that has `count_failure`: where it fails, that is counted, and None returned."""

    @functools.wraps(method)
    def guarded(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except Exception:  # noqa: BLE001 - no failure of ours may reach a statement, a transaction or a scrape
            self.count_failure()
            return None

    return cast("MethodT", guarded)


class DatabaseMetrics(DatabaseClientMetrics):
    """The families, and what records into them. Nothing here raises into the caller's statement."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics.registry)
        self.count_failure = functools.partial(metrics.count_internal_error, "database")
        """Counts a failure of ours."""
        self._statements: dict[str, Statement] = {}
        self.transaction = Statement("transaction", "")
        self.connecting = Statement("connect", "")
        self._ended = {True: self.transactions.labels("commit"), False: self.transactions.labels("rollback")}
        self._connections = metrics.database_connections
        self._pools: WeakKeyDictionary[Any, tuple[str, ReadUse]] = WeakKeyDictionary()
        metrics.registry.refresh_with(self._show_pools)

    @harmless
    def statement(self, text: str) -> Statement | None:
        """Tell what the statement with this text does; None where we failed to."""
        return self._statements.get(text) or self._describe(text[: MAX_CHARACTERS + 1])

    @harmless
    def record(self, statement: Statement | None, seconds: float | None, error: BaseException | None = None) -> None:
        """Count one execution, and how it failed if it did; without a time, the failure alone."""
        if statement is None:
            return
        if seconds is not None:
            if statement.duration is None:
                statement.duration = self.query_seconds.labels(statement.operation, statement.table)
            statement.duration.observe(seconds)
        if error is not None:
            self.query_errors.labels(statement.operation, statement.table, type(error).__name__).inc()

    @harmless
    def record_transaction(self, *, committed: bool) -> None:
        """Count a transaction that ended."""
        self._ended[committed].inc()

    @harmless
    def record_wait(self, pool: str, seconds: float, error: BaseException | None = None) -> None:
        """Count one wait for a connection of a pool, and how it failed if it did."""
        self.pool_wait_seconds.labels(pool).observe(seconds)
        if isinstance(error, TimeoutError):
            self.pool_timeouts.labels(pool).inc()
        elif error is not None:
            self.record(self.connecting, None, error)

    def watch_pool(self, name: str, pool: object, read_use: ReadUse) -> None:
        """Show this pool's use from now on, added to that of others of its name; it is not kept alive."""
        if pool not in self._pools and len(self._pools) < MAX_POOLS:
            self._pools[pool] = (name, read_use)

    def unwatch_pools(self, read_use: ReadUse) -> None:
        """Leave the pools alone that are read with this."""
        for pool, (_, reads) in self._watched():
            if reads == read_use:
                self._pools.pop(pool, None)

    def _describe(self, beginning: str) -> Statement:
        """Describe the statement that begins so; its last character only says that there are more."""
        known = self._statements.get(beginning)
        if known is None:
            if len(self._statements) >= MAX_TEXTS:
                self._statements = {}
            known = self._statements[beginning] = describe_statement(beginning)
        return known

    @harmless
    def _show_pools(self) -> None:
        counts: collections.Counter[tuple[str, ...]] = collections.Counter()
        for pool, (name, read_use) in self._watched():
            counts.update({(name, state): count for state, count in read_use(pool).items()})
        self._connections.replace(counts)

    def _watched(self) -> list[tuple[Any, tuple[str, ReadUse]]]:
        # Not `items()`, which fails when another thread adds a pool meanwhile.
        pools = [reference() for reference in self._pools.keyrefs()]
        return [(pool, self._pools[pool]) for pool in pools if pool in self._pools]


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
