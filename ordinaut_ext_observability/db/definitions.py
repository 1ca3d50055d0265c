"""The metrics of database clients: statements, transactions and pools, as this process sees them."""

from __future__ import annotations

from ordinaut_ext_observability.db.statement import Statement, StatementCache, usable_table
from ordinaut_ext_observability.db.utilisation import PoolUtilisation
from ordinaut_ext_observability.metrics.declarations.database_clients import DatabaseClientMetrics
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import HistogramChild

COMPONENT = "database"
"""Under which failures of ours are counted."""

_MAX_PAIRS = 1024


class StatementSeries:
    """Where executions of one kind of statement are counted."""

    __slots__ = ("operation", "seconds", "table")

    def __init__(self, operation: str, table: str) -> None:
        self.operation = operation
        self.table = table
        self.seconds: HistogramChild | None = None
        """None until there was an execution: what is only looked up is not shown."""


class DatabaseMetrics(DatabaseClientMetrics):
    """The families, and what records into them. Nothing here raises into the caller's statement."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics.registry)
        self._metrics = metrics
        self._statements = StatementCache(self._series)
        self._pairs: dict[tuple[str, str], StatementSeries] = {}
        self.engine_events: object = None
        """What listens to SQLAlchemy's engines for these metrics."""
        self._commits = self.transactions.labels("commit")
        self._rollbacks = self.transactions.labels("rollback")
        self.utilisation = PoolUtilisation(metrics.database_connections, self.count_failure)
        metrics.registry.refresh_with(self.utilisation.refresh)

    def statement(self, text: str) -> StatementSeries | None:
        """Where executions of the statement with this text are counted."""
        try:
            return self._statements.get(text)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()
            return None

    def operation(self, operation: str, table: object = "") -> StatementSeries | None:
        """Where an operation on a table is counted that no text describes."""
        try:
            return self._series(Statement(operation, usable_table(table)))
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()
            return None

    def record(self, series: StatementSeries | None, seconds: float) -> None:
        """Count one execution, however it ended."""
        try:
            if series is not None:
                child = series.seconds
                if child is None:
                    child = series.seconds = self.query_seconds.labels(series.operation, series.table)
                child.observe(seconds)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()

    def record_error(self, series: StatementSeries | None, error: BaseException) -> None:
        """Count an execution that ended with an exception."""
        try:
            if series is not None:
                self.query_errors.labels(series.operation, series.table, type(error).__name__).inc()
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
                self.record_error(self.operation("connect"), error)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self.count_failure()

    def count_failure(self) -> None:
        """Count a failure of ours."""
        self._metrics.count_internal_error(COMPONENT)

    def _series(self, statement: Statement) -> StatementSeries:
        known = self._pairs.get(statement)
        if known is None:
            if len(self._pairs) >= _MAX_PAIRS:
                self._pairs = {}
            known = self._pairs.setdefault(statement, StatementSeries(*statement))
        return known
