"""The host's SQLAlchemy engines, synchronous and asynchronous, measured through SQLAlchemy's own events.

Nothing of ours is imported by SQLAlchemy and SQLAlchemy is never imported by us: where the host has not, there is
nothing to measure.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.definitions import DatabaseMetrics, StatementSeries
from ordinaut_ext_observability.db.queued_work import MAX_TASKS, QUEUE_TABLE, queued_tasks
from ordinaut_ext_observability.db.utilisation import PoolUse

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, ExceptionContext, ExecutionContext

OnQueued = Callable[[str], None]


def instrument_engines(metrics: DatabaseMetrics, on_queued: OnQueued | None = None) -> EngineEvents | None:
    """Measure every engine there is and will be; None where SQLAlchemy is not imported, or cannot be listened to.

    Called again with the same metrics, this returns the same and changes nothing but `on_queued`, if it is given.

    `on_queued` is called with the id of each task for which a row was put into `due_work`, once per transaction, in the
    thread and before the COMMIT of that transaction; it must be quick. A row that was taken back by a rollback to a
    savepoint is reported as well.
    """
    if "sqlalchemy.engine" not in sys.modules:
        return None
    events = metrics.engine_events
    if not isinstance(events, EngineEvents):
        events = EngineEvents(metrics)
        if not events.listen():
            return None
        metrics.engine_events = events
    if on_queued is not None:
        events.on_queued = on_queued
    return events


class EngineEvents:
    """Listens to all engines until it is removed."""

    def __init__(self, metrics: DatabaseMetrics) -> None:
        self.on_queued: OnQueued | None = None
        self._metrics = metrics
        self._active = True
        # On the execution context, which is made for each statement; each listener has a name of its own.
        self._started = f"_ordinaut_started_{id(self):x}"
        self._queued: weakref.WeakKeyDictionary[Connection, dict[str, None]] = weakref.WeakKeyDictionary()

    def listen(self) -> bool:
        """Begin; whether that worked."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        try:
            for name, listener in self._listeners().items():
                options = {"retval": True} if name == "before_cursor_execute" else {}
                event.listen(Engine, name, listener, **options)
        except Exception:  # noqa: BLE001 - an SQLAlchemy we do not know: the host goes on unmeasured
            self._metrics.count_failure()
            self.remove()
            return False
        return True

    def remove(self) -> None:
        """Take every listener away.

        Best called when no statement is running: SQLAlchemy does not lock its lists of listeners.
        """
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        self._active = False
        for name, listener in self._listeners().items():
            if event.contains(Engine, name, listener):
                event.remove(Engine, name, listener)
        self._queued.clear()
        self._metrics.utilisation.unwatch(_use)
        if self._metrics.engine_events is self:
            self._metrics.engine_events = None

    def _listeners(self) -> dict[str, Callable[..., Any]]:
        return {
            "engine_connect": self._connected,
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            "handle_error": self._failed,
            "commit": self._committing,
            "commit_twophase": self._committing,
            "rollback": self._rolling_back,
            "rollback_twophase": self._rolling_back,
        }

    def _connected(self, connection: Connection) -> None:
        try:
            engine = connection.engine
            if self._active and not self._metrics.utilisation.watches(engine.pool):
                self._metrics.utilisation.watch("async" if engine.dialect.is_async else "sync", engine.pool, _use)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self._metrics.count_failure()

    def _before(
        self,
        _connection: Connection,
        _cursor: Any,
        statement: str,
        parameters: Any,
        context: ExecutionContext | None,
        _executemany: bool,  # noqa: FBT001 - SQLAlchemy calls by position
    ) -> tuple[str, Any]:
        try:
            if self._active and context is not None:
                setattr(context, self._started, monotonic_seconds())
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self._metrics.count_failure()
        return statement, parameters

    def _after(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: ExecutionContext | None,
        executemany: bool,  # noqa: FBT001
    ) -> None:
        try:
            series = self._record(statement, context)
            if series is not None and series.table == QUEUE_TABLE and series.operation == "insert":
                # By their names, whatever the driver's way of passing parameters is, where SQLAlchemy made the text.
                rows = getattr(context, "compiled_parameters", None) or (parameters if executemany else [parameters])
                self._remember(connection, cursor, statement, rows, context)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self._metrics.count_failure()

    def _record(self, statement: str, context: ExecutionContext | None) -> StatementSeries | None:
        """Count the statement, if it was begun under our eyes."""
        started = context.__dict__.pop(self._started, None) if context is not None else None
        if started is None:
            return None
        series = self._metrics.statement(statement)
        self._metrics.record(series, monotonic_seconds() - started)
        return series

    def _failed(self, failure: ExceptionContext) -> None:
        try:
            if not self._active:
                return
            series: StatementSeries | None
            if failure.statement is not None:
                series = self._record(failure.statement, failure.execution_context)
                series = series or self._metrics.statement(failure.statement)
            else:
                series = self._metrics.operation("connect" if failure.connection is None else "transaction")
            self._metrics.record_error(series, _of_the_driver(failure.original_exception))
        except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
            self._metrics.count_failure()

    def _committing(self, connection: Connection, *_: Any) -> None:
        try:
            if self._active:
                if self._queued:
                    self._report_queued(connection)
                self._metrics.record_transaction(committed=True)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the transaction
            self._metrics.count_failure()

    def _rolling_back(self, connection: Connection, *_: Any) -> None:
        try:
            if self._active:
                if self._queued:
                    self._queued.pop(connection, None)
                self._metrics.record_transaction(committed=False)
        except Exception:  # noqa: BLE001 - no failure of ours may reach the transaction
            self._metrics.count_failure()

    def _remember(self, connection: Connection, cursor: Any, statement: str, rows: Any, context: Any) -> None:
        """Keep the ids of the tasks that an INSERT queued."""
        seen = f"{self._started}_queued"
        if self.on_queued is None or cursor.rowcount == 0 or seen in context.__dict__:
            return
        # When rows are sent in batches, each batch's event has all rows.
        context.__dict__[seen] = True
        tasks = self._queued.setdefault(connection, {})
        for task in islice(queued_tasks(statement, rows), MAX_TASKS - len(tasks)):
            tasks[task] = None

    def _report_queued(self, connection: Connection) -> None:
        for task in self._queued.pop(connection, ()):
            try:
                if self.on_queued is not None:
                    self.on_queued(task)
            except Exception:  # noqa: BLE001 - no failure of ours may reach the statement
                self._metrics.count_failure()


def _of_the_driver(error: BaseException) -> BaseException:
    """What the driver raised: for asyncpg, SQLAlchemy puts an error of its own around it."""
    if type(error).__module__.startswith("sqlalchemy.dialects.") and error.__cause__ is not None:
        return error.__cause__
    return error


def _use(pool: Any) -> PoolUse | None:
    """The connections of a pool that keeps a number of them; None of another one."""
    if not hasattr(pool, "checkedout"):
        return None
    overflow = getattr(pool, "_max_overflow", -1)
    return PoolUse(
        idle=max(0, pool.checkedin()),
        used=max(0, pool.checkedout()),
        max=pool.size() + overflow if overflow >= 0 else None,
    )
