"""The host's SQLAlchemy engines, measured through SQLAlchemy's events; without SQLAlchemy nothing is."""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.definitions import DatabaseMetrics, harmless
from ordinaut_ext_observability.db.statement import Statement

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, ExceptionContext, ExecutionContext

OnQueued = Callable[[str], None]

MAX_TASKS = 10_000
"""Tasks remembered per transaction."""

_QUEUE = "due_work"

# SQLAlchemy numbers a parameter's name when a statement has several rows: task_id_m1, task_id__1.
_TASK_PARAMETER = re.compile(r"task_id(?:_[m_]?\d+)?")

# The columns of an INSERT, up to the values of its first row; quantifiers are possessive, names hold no parentheses.
_COLUMNS = re.compile(rf'\b{_QUEUE}"?+\s*+\(([^()]{{1,1000}}+)\)\s*+VALUES\b', re.IGNORECASE)


def instrument_engines(metrics: DatabaseMetrics, on_queued: OnQueued | None = None) -> EngineEvents | None:
    """Measure every engine there is and will be; None where SQLAlchemy is not imported, or cannot be listened to.

    `on_queued` is called with the id of each task for which a row was put into `due_work`, once per transaction, in the
    thread and before the COMMIT of that transaction; it must be quick. A row that was taken back by a rollback to a
    savepoint is reported as well.
    """
    if "sqlalchemy.engine" not in sys.modules:
        return None
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    events = EngineEvents(metrics, on_queued)
    try:
        for name, listener in events.listeners().items():
            event.listen(Engine, name, listener)
    except Exception:  # noqa: BLE001 - an SQLAlchemy we do not know: the host goes on unmeasured
        metrics.count_failure()
        events.remove()
        return None
    return events


class EngineEvents:
    """Measures all engines until it is removed."""

    def __init__(self, metrics: DatabaseMetrics, on_queued: OnQueued | None) -> None:
        self.metrics = metrics
        self.count_failure = metrics.count_failure
        self.on_queued = on_queued
        # On the execution context, which is made for each statement; each listener has a name of its own.
        self._started = f"_ordinaut_started_{id(self):x}"
        self._queued: weakref.WeakKeyDictionary[Connection, dict[str, None]] = weakref.WeakKeyDictionary()

    def remove(self) -> None:
        """Take every listener away; best while no statement runs, since SQLAlchemy does not lock its lists of them."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        for name, listener in self.listeners().items():
            if event.contains(Engine, name, listener):
                event.remove(Engine, name, listener)
        self._queued.clear()
        self.metrics.unwatch_pools(_use)

    def listeners(self) -> dict[str, Callable[..., None]]:
        """The listener to each of SQLAlchemy's events."""
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

    @harmless
    def _connected(self, connection: Connection) -> None:
        engine = connection.engine
        self.metrics.watch_pool("async" if engine.dialect.is_async else "sync", engine.pool, _use)

    @harmless
    def _before(self, _connection: Any, _cursor: Any, _text: str, _parameters: Any, context: Any, _many: Any) -> None:
        if context is not None:
            setattr(context, self._started, monotonic_seconds())

    @harmless
    def _after(self, connection: Connection, cursor: Any, text: str, parameters: Any, context: Any, many: Any) -> None:
        statement = self._record(text, context)
        if statement is not None and statement.table == _QUEUE and statement.operation == "insert":
            # By their names, whatever the driver's way of passing them is, where SQLAlchemy made the text.
            rows = getattr(context, "compiled_parameters", None) or (parameters if many else [parameters])
            self._remember(connection, cursor, text, rows, context)

    @harmless
    def _failed(self, failure: ExceptionContext) -> None:
        statement: Statement | None
        if (text := failure.statement) is not None:
            statement = self._record(text, failure.execution_context) or self.metrics.statement(text)
        else:
            statement = self.metrics.connecting if failure.connection is None else self.metrics.transaction
        error = failure.original_exception
        if type(error).__module__.startswith("sqlalchemy.dialects.") and error.__cause__ is not None:
            error = error.__cause__  # what asyncpg raised, around which SQLAlchemy puts an error of its own
        self.metrics.record(statement, None, error)

    @harmless
    def _committing(self, connection: Connection, *_: Any) -> None:
        if self._queued and self.on_queued is not None:
            for task in self._queued.pop(connection, ()):
                self.on_queued(task)
        self.metrics.record_transaction(committed=True)

    @harmless
    def _rolling_back(self, connection: Connection, *_: Any) -> None:
        self._queued.pop(connection, None)
        self.metrics.record_transaction(committed=False)

    def _record(self, text: str, context: ExecutionContext | None) -> Statement | None:
        """Count the statement, if it was begun under our eyes."""
        started = getattr(context, self._started, None)
        if started is None:
            return None
        setattr(context, self._started, None)
        statement = self.metrics.statement(text)
        self.metrics.record(statement, monotonic_seconds() - started)
        return statement

    def _remember(self, connection: Connection, cursor: Any, text: str, rows: Any, context: Any) -> None:
        """Keep the ids of the tasks that an INSERT queued."""
        seen = f"{self._started}_queued"
        if self.on_queued is None or cursor.rowcount == 0 or hasattr(context, seen):
            return
        # When rows are sent in batches, each batch's event has all rows.
        setattr(context, seen, True)
        tasks = self._queued.setdefault(connection, {})
        tasks.update(dict.fromkeys(islice(queued_tasks(text, rows), MAX_TASKS - len(tasks))))


def queued_tasks(statement: str, rows: Iterable[Any]) -> Iterator[str]:
    """The ids of the tasks an INSERT into `due_work` queues, from the parameters of each row or each batch of rows.

    What is no parameter (a literal, a column of a SELECT) is not found.
    """
    found = _COLUMNS.search(statement, 0, 2000)
    columns = [column.strip(' "\n\t').lower() for column in found[1].split(",")] if found else []
    for row in rows:
        values: Iterable[Any] = ()
        if isinstance(row, Mapping):
            values = [value for name, value in row.items() if _TASK_PARAMETER.fullmatch(name)]
        elif isinstance(row, Sequence) and "task_id" in columns:
            values = row[columns.index("task_id") :: len(columns)]
        yield from (str(value) for value in values if value is not None)


def _use(pool: Any) -> dict[str, int]:
    """The connections of a pool that keeps a number of them; none of another one."""
    if not hasattr(pool, "checkedout"):
        return {}
    idle, used, overflow = max(0, pool.checkedin()), max(0, pool.checkedout()), getattr(pool, "_max_overflow", -1)
    use = {"size": idle + used, "idle": idle, "used": used}
    return use | {"max": pool.size() + overflow} if overflow >= 0 else use
