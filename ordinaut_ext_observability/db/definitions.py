"""The metrics of database clients: statements, transactions and pools, as this process sees them."""

from __future__ import annotations

from functools import lru_cache

from ordinaut_ext_observability.db.statement import MAX_CHARACTERS, Statement, describe_statement
from ordinaut_ext_observability.db.watched_pools import WatchedPools
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.declarations.database import DatabaseClientMetrics

MAX_TEXTS = 512
"""Statements whose description is kept by their text: 2 MB of texts at most, since each is cut."""

CONNECTING = Statement("connect", "")
TRANSACTION = Statement("transaction", "")


class DatabaseMetrics(DatabaseClientMetrics):
    """The families, and what records into them. Nothing here raises into the caller's statement."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics.registry)
        self._metrics = metrics
        self._describe = lru_cache(MAX_TEXTS)(describe_statement)
        self._durations = lru_cache(MAX_TEXTS)(lambda statement: self.query_seconds.labels(*statement))
        self.engine_events: object = None
        """The listener to SQLAlchemy's engines for these metrics, if there is one."""
        self._commits = self.transactions.labels("commit")
        self._rollbacks = self.transactions.labels("rollback")
        self.pools = WatchedPools(metrics.database_connections, self.count_failure)
        metrics.registry.refresh_with(self.pools.refresh)

    def statement(self, text: str) -> Statement | None:
        """Tell what the statement with this text does; None where we failed to."""
        try:
            return self._describe(text[: MAX_CHARACTERS + 1])  # the last one only says that there are more
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()
            return None

    def record(self, statement: Statement | None, seconds: float) -> None:
        """Count one execution, however it ended."""
        try:
            if statement is not None:
                self._durations(statement).observe(seconds)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()

    def record_error(self, statement: Statement | None, error: BaseException) -> None:
        """Count an execution that ended with an exception."""
        try:
            if statement is not None:
                self.query_errors.labels(*statement, type(error).__name__).inc()
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()

    def record_transaction(self, *, committed: bool) -> None:
        """Count a transaction that ended."""
        try:
            (self._commits if committed else self._rollbacks).inc()
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()

    def record_wait(self, pool: str, seconds: float, error: BaseException | None = None) -> None:
        """Count one wait for a connection of a pool, and how it failed if it did."""
        try:
            self.pool_wait_seconds.labels(pool).observe(seconds)
            if isinstance(error, TimeoutError):
                self.pool_timeouts.labels(pool).inc()
            elif error is not None:
                self.record_error(CONNECTING, error)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()

    def count_failure(self) -> None:
        """Count a failure of ours."""
        self._metrics.count_internal_error("database")
