"""What database clients of this process did."""

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


class PoolMetrics(MetricSet):
    """Connections of pools."""

    title = "PostgreSQL: pools"

    database_connections = gauge(
        "orchestrator_database_connections",
        "Connections of the host's database pools.",
        ("pool", "state"),
        merged_by="sum",
    )


class DatabaseClientMetrics(MetricSet):
    """Statements, transactions and pools as this process sees them."""

    title = "PostgreSQL: clients"

    query_seconds = histogram(
        "orchestrator_database_query_duration_seconds",
        "Time from sending a statement to its result, failed ones included, by what the statement does and "
        "the first table it names. From SQLAlchemy's events and instrumented asyncpg connections; for a "
        "cursor, all waits for its rows.",
        ("operation", "table"),
        buckets=QUERY,
    )
    query_errors = counter(
        "orchestrator_database_query_errors_total",
        "Statements and connection attempts that ended with an exception, by its class; cancelled ones count "
        "as CancelledError.",
        ("operation", "table", "error"),
    )
    transactions = counter(
        "orchestrator_database_transactions_total",
        "Transactions ended, by commit or rollback, savepoints left out. SQLAlchemy ends with a rollback what "
        "was not committed, a session that only read included; its commits are counted as they begin.",
        ("outcome",),
    )
    pool_wait_seconds = histogram(
        "orchestrator_database_pool_wait_seconds",
        "Time callers waited for a connection of an instrumented asyncpg pool, whether they got one or not.",
        ("pool",),
        buckets=POOL_WAIT,
    )
    pool_timeouts = counter(
        "orchestrator_database_pool_timeouts_total",
        "Waits for a connection of an instrumented asyncpg pool that ran into the caller's timeout.",
        ("pool",),
    )
