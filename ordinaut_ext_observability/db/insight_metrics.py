"""What PostgreSQL says of itself, as metrics. They are of the process that reads it: call `clear` when another does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ordinaut_ext_observability.db.insights.statements import MAX_STATEMENTS
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import Counter, Gauge

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


class InsightMetrics:
    """The families, and how a reading becomes their values. What a reading does not know has no series."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._gauges: list[Gauge] = []
        self._counters: list[GrowingCounter] = []
        self._define_server()
        self._define_sessions()
        self._define_tables()
        self._define_statements()

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
        for counter in self._counters:
            counter.pause()

    def _define_server(self) -> None:
        self._transactions = self._counter(
            "orchestrator_database_server_transactions_total",
            "Transactions of the database that ended, whoever's: commit or rollback (pg_stat_database).",
            "outcome",
        )
        self._deadlocks = self._counter(
            "orchestrator_database_deadlocks_total", "Deadlocks PostgreSQL found and broke (pg_stat_database)."
        )
        self._temp_bytes = self._counter(
            "orchestrator_database_temp_bytes_total",
            "Bytes written to temporary files by what did not fit work_mem (pg_stat_database).",
        )
        self._blocks = self._counter(
            "orchestrator_database_blocks_total",
            "Blocks of 8 kB asked for, by where they were: cache (PostgreSQL's buffers) or disk (pg_stat_database).",
            "source",
        )
        self._cache_hit_ratio = self._gauge(
            "orchestrator_database_cache_hit_ratio",
            "Share of blocks found in PostgreSQL's buffers since its statistics were reset (pg_stat_database).",
        )
        self._max_connections = self._gauge(
            "orchestrator_database_max_connections",
            "Connections the server takes, those reserved for superusers left out (pg_settings).",
        )
        self._xid_age = self._gauge(
            "orchestrator_database_xid_age",
            "Transactions since the oldest rows of the server were frozen; at 2.1 billion it stops (pg_database).",
        )

    def _define_sessions(self) -> None:
        self._active = self._gauge(
            "orchestrator_database_connections_active",
            "Client connections of the server that run a statement, all databases (pg_stat_activity).",
        )
        self._backends = self._gauge(
            "orchestrator_database_backends",
            "Client connections of the server, all databases, by state; hidden: our role may not see it "
            "(pg_stat_activity).",
            "state",
        )
        self._longest_transaction = self._gauge(
            "orchestrator_database_longest_transaction_seconds",
            "Age of the oldest open transaction of the database, 0 without one (pg_stat_activity).",
        )
        self._longest_query = self._gauge(
            "orchestrator_database_longest_query_seconds",
            "How long the longest statement of the database has been running, 0 without one (pg_stat_activity).",
        )
        self._longest_idle = self._gauge(
            "orchestrator_database_idle_in_transaction_seconds",
            "Longest time a session of the database has been idle inside a transaction (pg_stat_activity).",
        )
        self._blocked = self._gauge(
            "orchestrator_database_blocked_sessions", "Sessions of the database that wait for a lock (pg_locks)."
        )

    def _define_tables(self) -> None:
        self._scan_ratio = self._gauge(
            "orchestrator_database_index_scan_ratio",
            "Share of the table's scans that used an index, since the statistics were reset (pg_stat_all_tables).",
            "table",
        )
        self._dead_tuples = self._gauge(
            "orchestrator_database_dead_tuples",
            "Row versions waiting for vacuum, an estimate (pg_stat_all_tables).",
            "table",
        )
        self._autovacuum_age = self._gauge(
            "orchestrator_database_last_autovacuum_age_seconds",
            "Time since autovacuum last finished with the table; no series: never (pg_stat_all_tables).",
            "table",
        )
        self._table_size = self._gauge(
            "orchestrator_database_table_size_bytes",
            "Size of the table with its indexes; no series while it is locked exclusively (pg_total_relation_size).",
            "table",
        )

    def _define_statements(self) -> None:
        self._statement_seconds = self._counter(
            "orchestrator_database_statement_seconds_total",
            f"Time taken by the {MAX_STATEMENTS} statements of the database that took most of it (pg_stat_statements).",
            "queryid",
        )
        self._statement_calls = self._counter(
            "orchestrator_database_statement_calls_total",
            f"Calls of the {MAX_STATEMENTS} statements of the database that took most time (pg_stat_statements).",
            "queryid",
        )

    def _counter(self, name: str, documentation: str, *labels: str) -> GrowingCounter:
        counter = GrowingCounter(self._metrics.counter(name, documentation, *labels))
        self._counters.append(counter)
        return counter

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        gauge = self._metrics.gauge(name, documentation, *labels)
        self._gauges.append(gauge)
        return gauge

    def _update_server(self, server: Server | None, xid_age: XidAge | None) -> None:
        _show(self._xid_age, None if xid_age is None else xid_age.server_age)
        _show(self._cache_hit_ratio, None if server is None else server.cache_hit_ratio)
        _show(self._max_connections, None if server is None else server.max_connections - server.reserved_connections)
        if server is None:
            return
        self._transactions.follow({("commit",): server.commits, ("rollback",): server.rollbacks})
        self._deadlocks.follow({(): server.deadlocks})
        self._temp_bytes.follow({(): server.temp_bytes})
        self._blocks.follow({("cache",): server.blocks_from_cache, ("disk",): server.blocks_from_disk})

    def _update_sessions(self, connections: Connections | None, longest: Longest | None, locks: Locks | None) -> None:
        _show(self._active, None if connections is None else connections.active)
        _show_each(self._backends, {} if connections is None else connections.by_state)
        _show(self._longest_transaction, None if longest is None else longest.transaction_seconds)
        _show(self._longest_query, None if longest is None else longest.query_seconds)
        _show(self._longest_idle, None if longest is None else longest.idle_in_transaction_seconds)
        _show(self._blocked, None if locks is None else locks.waiting)

    def _update_tables(self, tables: Tables | None) -> None:
        found = () if tables is None else tables.found
        _show_each(self._scan_ratio, {table.name: table.index_scan_ratio for table in found})
        _show_each(self._dead_tuples, {table.name: table.dead_rows for table in found})
        _show_each(self._autovacuum_age, {table.name: table.autovacuum_age_seconds for table in found})
        _show_each(self._table_size, {table.name: table.size_bytes for table in found})

    def _update_statements(self, statements: Statements | None) -> None:
        if statements is None:
            return
        top = statements.top[:MAX_STATEMENTS]
        self._statement_seconds.follow({(statement.id,): statement.seconds for statement in top})
        self._statement_calls.follow({(statement.id,): statement.calls for statement in top})


def _show(gauge: Gauge, value: float | None) -> None:
    _show_values(gauge, {(): value})


def _show_each(gauge: Gauge, values: Mapping[str, float | None]) -> None:
    """A gauge with one label: these series and no others."""
    _show_values(gauge, {(name,): value for name, value in values.items()})


def _show_values(gauge: Gauge, values: Mapping[tuple[str, ...], float | None]) -> None:
    shown = []
    for labels, value in values.items():
        if value is not None:
            child = gauge.labels(*labels)
            child.set(value)
            shown.append(child)
    if len(shown) < len(gauge):
        gauge.keep_only(shown)
