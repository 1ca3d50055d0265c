"""What PostgreSQL says of itself, as metrics. They are of the process that reads it: call `clear` when another does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ordinaut_ext_observability.metrics.declarations.database_server import MAX_STATEMENTS, DatabaseServerMetrics
from ordinaut_ext_observability.metrics.declare import declarations_of
from ordinaut_ext_observability.metrics.family import Counter, Gauge
from ordinaut_ext_observability.metrics.registry import Registry

if TYPE_CHECKING:  # reading them takes the driver; every API process has the families
    from ordinaut_ext_observability.db.insights.activity import Connections, Longest
    from ordinaut_ext_observability.db.insights.collect import Insights
    from ordinaut_ext_observability.db.insights.locks import Locks
    from ordinaut_ext_observability.db.insights.server import Server, XidAge
    from ordinaut_ext_observability.db.insights.statements import Statements
    from ordinaut_ext_observability.db.insights.tables import Tables


class GrowingCounter:
    """A counter that follows counts of PostgreSQL's: by what they grew since the last reading.

    The first reading counts nothing: what was before it, another process may have counted. A count that shrank was
    reset, and has grown from 0 since.
    """

    def __init__(self, family: Counter) -> None:
        self._family = family
        self._last: dict[tuple[str, ...], float] = {}

    def follow(self, counts: Mapping[tuple[str, ...], float]) -> None:
        """Take over one reading.

        A series that is not in it keeps what it counted, since a counter that vanished would turn sums over processes
        back. When it comes again, that is its first reading.
        """
        for values, count in counts.items():
            child = self._family.labels(*values)
            before = self._last.get(values)
            if before is not None:
                child.inc(count - before if count >= before else count)
        self._last = dict(counts)

    def pause(self) -> None:
        """Keep what was counted; the next reading is a first one."""
        self._last = {}


class InsightMetrics(DatabaseServerMetrics):
    """How a reading becomes their values. What a reading does not know has no series."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        families = [self.__dict__[name] for name, _ in declarations_of(DatabaseServerMetrics)]
        self._gauges = [family for family in families if isinstance(family, Gauge)]
        self._counters = {family.name: GrowingCounter(family) for family in families if isinstance(family, Counter)}

    def update(self, insights: Insights) -> None:
        """Show this reading in place of the last."""
        self._update_server(insights.server, insights.xid_age)
        self._update_sessions(insights.connections, insights.longest, insights.locks)
        self._update_tables(insights.tables)
        self._update_statements(insights.statements)

    def clear(self) -> None:
        """Show no values any more: they would age, and another process reads the database now. Counters stay."""
        for gauge in self._gauges:
            gauge.clear()
        for counter in self._counters.values():
            counter.pause()

    def _follow(self, counter: Counter, counts: Mapping[tuple[str, ...], float]) -> None:
        self._counters[counter.name].follow(counts)

    def _update_server(self, server: Server | None, xid_age: XidAge | None) -> None:
        _show(self.xid_age, None if xid_age is None else xid_age.server_age)
        _show(self.cache_hit_ratio, None if server is None else server.cache_hit_ratio)
        _show(self.max_connections, None if server is None else server.max_connections - server.reserved_connections)
        if server is None:
            return
        self._follow(self.transactions, {("commit",): server.commits, ("rollback",): server.rollbacks})
        self._follow(self.deadlocks, {(): server.deadlocks})
        self._follow(self.temp_bytes, {(): server.temp_bytes})
        self._follow(self.blocks, {("cache",): server.blocks_from_cache, ("disk",): server.blocks_from_disk})

    def _update_sessions(self, connections: Connections | None, longest: Longest | None, locks: Locks | None) -> None:
        _show(self.active, None if connections is None else connections.active)
        _show_each(self.backends, {} if connections is None else connections.by_state)
        _show(self.longest_transaction, None if longest is None else longest.transaction_seconds)
        _show(self.longest_query, None if longest is None else longest.query_seconds)
        _show(self.longest_idle, None if longest is None else longest.idle_in_transaction_seconds)
        _show(self.blocked, None if locks is None else locks.waiting)

    def _update_tables(self, tables: Tables | None) -> None:
        found = () if tables is None else tables.found
        _show_each(self.scan_ratio, {table.name: table.index_scan_ratio for table in found})
        _show_each(self.dead_tuples, {table.name: table.dead_rows for table in found})
        _show_each(self.autovacuum_age, {table.name: table.autovacuum_age_seconds for table in found})
        _show_each(self.table_size, {table.name: table.size_bytes for table in found})

    def _update_statements(self, statements: Statements | None) -> None:
        if statements is None:
            return
        top = statements.top[:MAX_STATEMENTS]
        self._follow(self.statement_seconds, {(statement.id,): statement.seconds for statement in top})
        self._follow(self.statement_calls, {(statement.id,): statement.calls for statement in top})


def _show(gauge: Gauge, value: float | None) -> None:
    _show_values(gauge, {(): value})


def _show_each(gauge: Gauge, values: Mapping[str, float | None]) -> None:
    """A gauge with one label: these series and no others."""
    _show_values(gauge, {(name,): value for name, value in values.items()})


def _show_values(gauge: Gauge, values: Mapping[tuple[str, ...], float | None]) -> None:
    gauge.replace({labels: value for labels, value in values.items() if value is not None})
