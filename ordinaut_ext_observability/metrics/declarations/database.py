"""Metrics of the clients of PostgreSQL in this process, and of PostgreSQL itself."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import Buckets, MetricSet, counter, gauge, histogram

QUERY = Buckets(
    "From a row found by its key on the same machine, to the half minute after which connections and "
    "pools give up. The rules of Ordinaut take 1 second for slow.",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0),
)

POOL_WAIT = Buckets(
    "An idle connection is handed over in microseconds, a new one takes some ten milliseconds; the rest "
    "is waiting for others, who give connections back after one statement or after a slow request.",
    (0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0),
)


MAX_STATEMENTS = 10
"""Statements shown: those that took most time."""


class PoolMetrics(MetricSet, title="PostgreSQL: pools"):
    """Connections of pools."""

    database_connections = gauge(
        "orchestrator_database_connections{pool,state}", "Connections of the host's database pools.", merged_by="sum"
    )


class DatabaseClientMetrics(MetricSet, title="PostgreSQL: clients"):
    """Statements, transactions and pools as this process sees them."""

    query_seconds = histogram(
        "orchestrator_database_query_duration_seconds{operation,table}",
        "Time from sending a statement to its result, failed ones included, by what the statement does and "
        "the first table it names. From SQLAlchemy's events and instrumented asyncpg connections; for a "
        "cursor, all waits for its rows.",
        buckets=QUERY,
    )
    query_errors = counter(
        "orchestrator_database_query_errors_total{operation,table,error}",
        "Statements and connection attempts that ended with an exception, by its class; cancelled ones count "
        "as CancelledError.",
    )
    transactions = counter(
        "orchestrator_database_transactions_total{outcome}",
        "Transactions ended, by commit or rollback, savepoints left out. SQLAlchemy ends with a rollback what "
        "was not committed, a session that only read included; its commits are counted as they begin.",
    )
    pool_wait_seconds = histogram(
        "orchestrator_database_pool_wait_seconds{pool}",
        "Time callers waited for a connection of an instrumented asyncpg pool, whether they got one or not.",
        buckets=POOL_WAIT,
    )
    pool_timeouts = counter(
        "orchestrator_database_pool_timeouts_total{pool}",
        "Waits for a connection of an instrumented asyncpg pool that ran into the caller's timeout.",
    )


class DatabaseServerMetrics(MetricSet, title="PostgreSQL: server"):
    """Read from the statistics views that each help text names."""

    transactions = counter(
        "orchestrator_database_server_transactions_total{outcome}",
        "Transactions of the database that ended, whoever's: commit or rollback (pg_stat_database).",
    )
    deadlocks = counter(
        "orchestrator_database_deadlocks_total", "Deadlocks PostgreSQL found and broke (pg_stat_database)."
    )
    temp_bytes = counter(
        "orchestrator_database_temp_bytes_total",
        "Bytes written to temporary files by what did not fit work_mem (pg_stat_database).",
    )
    blocks = counter(
        "orchestrator_database_blocks_total{source}",
        "Blocks of 8 kB asked for, by where they were: cache (PostgreSQL's buffers) or disk (pg_stat_database).",
    )
    cache_hit_ratio = gauge(
        "orchestrator_database_cache_hit_ratio",
        "Share of blocks found in PostgreSQL's buffers since its statistics were reset (pg_stat_database).",
    )
    max_connections = gauge(
        "orchestrator_database_max_connections",
        "Connections the server takes, those reserved for superusers left out (pg_settings).",
    )
    xid_age = gauge(
        "orchestrator_database_xid_age",
        "Transactions since the oldest rows of the server were frozen; at 2.1 billion it stops (pg_database).",
    )
    active = gauge(
        "orchestrator_database_connections_active",
        "Client connections of the server that run a statement, all databases (pg_stat_activity).",
    )
    backends = gauge(
        "orchestrator_database_backends{state}",
        "Client connections of the server, all databases, by state; hidden: our role may not see it "
        "(pg_stat_activity).",
    )
    longest_transaction = gauge(
        "orchestrator_database_longest_transaction_seconds",
        "Age of the oldest open transaction of the database, 0 without one (pg_stat_activity).",
    )
    longest_query = gauge(
        "orchestrator_database_longest_query_seconds",
        "How long the longest statement of the database has been running, 0 without one (pg_stat_activity).",
    )
    longest_idle = gauge(
        "orchestrator_database_idle_in_transaction_seconds",
        "Longest time a session of the database has been idle inside a transaction (pg_stat_activity).",
    )
    blocked = gauge(
        "orchestrator_database_blocked_sessions", "Sessions of the database that wait for a lock (pg_locks)."
    )
    scan_ratio = gauge(
        "orchestrator_database_index_scan_ratio{table}",
        "Share of the table's scans that used an index, since the statistics were reset (pg_stat_all_tables).",
    )
    dead_tuples = gauge(
        "orchestrator_database_dead_tuples{table}", "Row versions waiting for vacuum, an estimate (pg_stat_all_tables)."
    )
    autovacuum_age = gauge(
        "orchestrator_database_last_autovacuum_age_seconds{table}",
        "Time since autovacuum last finished with the table; no series: never (pg_stat_all_tables).",
    )
    table_size = gauge(
        "orchestrator_database_table_size_bytes{table}",
        "Size of the table with its indexes; no series while it is locked exclusively (pg_total_relation_size).",
    )
    statement_seconds = counter(
        "orchestrator_database_statement_seconds_total{queryid}",
        f"Time taken by the {MAX_STATEMENTS} statements of the database that took most of it (pg_stat_statements).",
    )
    statement_calls = counter(
        "orchestrator_database_statement_calls_total{queryid}",
        f"Calls of the {MAX_STATEMENTS} statements of the database that took most time (pg_stat_statements).",
    )
