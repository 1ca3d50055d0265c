"""An asyncpg connection that counts what is done with it, and its prepared statements, transactions and cursors.

They are proxies, which behave as what they are given. The arguments of asyncpg's methods, whichever release it is, are
passed on as they are; they are neither looked at nor kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from functools import partial
from typing import Any, ClassVar, TypeAlias

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.statement import Statement, usable_table

Call: TypeAlias = Callable[..., Awaitable[Any]]
Describe: TypeAlias = Callable[["Proxy", tuple[Any, ...], dict[str, Any]], Statement | None]
"""Makes the statement that a call executes from the proxy and the arguments."""

_EXECUTING = ("executemany", "fetch", "fetchmany", "fetchrow", "fetchval")


class CallTimer:
    """Counts calls on one connection, and knows whether the server has given up the transaction they are in."""

    __slots__ = ("aborted", "metrics")

    def __init__(self, metrics: DatabaseMetrics) -> None:
        self.metrics = metrics
        self.aborted = False
        """The last statement failed on the server: inside a transaction, COMMIT would then roll back."""

    async def run(self, statement: Statement | None, call: Call, /, *arguments: Any, **options: Any) -> Any:
        """Return or raise what the call does, and count it."""
        started = monotonic_seconds()
        try:
            result = await call(*arguments, **options)
        except BaseException as error:
            self.failed(statement, monotonic_seconds() - started, error)
            raise
        self.aborted = False
        self.metrics.record(statement, monotonic_seconds() - started)
        return result

    def failed(self, statement: Statement | None, seconds: float, error: BaseException) -> None:
        """Count a call that raised."""
        # Only what the server reports has a severity; errors of the driver's own leave a transaction as it is.
        if getattr(error, "severity", None) or isinstance(error, TimeoutError | asyncio.CancelledError):
            self.aborted = True
        self.metrics.record(statement, seconds, error)


class Proxy:
    """Behaves as the object it is given, but for the methods that a subclass has."""

    __slots__ = ("_statement", "_timer", "uninstrumented")

    counted: ClassVar[Mapping[str, Describe]] = {}
    """Methods that are counted where the object has them, and what each executes."""

    def __init__(self, proxied: Any, timer: CallTimer, statement: Statement | None = None) -> None:
        """`statement` is what the calls execute, where all execute the same."""
        self.uninstrumented = proxied
        self._timer = timer
        self._statement = statement

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.uninstrumented, name)
        describe = self.counted.get(name)
        return value if describe is None else partial(self._run, describe, value)

    def _run(self, describe: Describe, call: Call, /, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        return self._timer.run(describe(self, arguments, options), call, *arguments, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uninstrumented!r}>"


def _by_text(self: Proxy, arguments: tuple[Any, ...], options: dict[str, Any]) -> Statement | None:
    text = arguments[0] if arguments else options.get("query", options.get("command", ""))
    return self._timer.metrics.statement(text)


def _by_table(_: Proxy, arguments: tuple[Any, ...], options: dict[str, Any]) -> Statement:
    return Statement("copy", usable_table(arguments[0] if arguments else options.get("table_name")))


def _on_table(operation: str, statement: Statement | None) -> Statement:
    """An operation with a statement that is on the table of this one."""
    return Statement(operation, statement.table if statement is not None else "")


class InstrumentedConnection(Proxy):
    """Behaves as the connection it is given, and counts statements, their failures and transactions.

    Example:
        connection = InstrumentedConnection(await asyncpg.connect(url), metrics)
        rows = await connection.fetch("SELECT id FROM task WHERE status = $1", "active")
    """

    __slots__ = ("__weakref__",)

    counted: ClassVar[Mapping[str, Describe]] = {
        **dict.fromkeys(_EXECUTING, _by_text),
        **dict.fromkeys(("copy_from_table", "copy_to_table", "copy_records_to_table"), _by_table),
        "copy_from_query": lambda *given: _on_table("copy", _by_text(*given)),
    }

    def __init__(self, connection: Any, metrics: DatabaseMetrics) -> None:
        super().__init__(connection, CallTimer(metrics))

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        """Execute statements; the status says how a transaction ended that is begun and ended by its text."""
        metrics = self._timer.metrics
        statement = metrics.statement(query)
        status = await self._timer.run(statement, self.uninstrumented.execute, query, *arguments, **options)
        # ROLLBACK is also what the server says of ROLLBACK TO a savepoint.
        is_end = statement is not None and statement.operation == "transaction" and status in {"COMMIT", "ROLLBACK"}
        if is_end and not self.uninstrumented.is_in_transaction():
            metrics.record_transaction(committed=status == "COMMIT")
        return status

    async def prepare(self, query: str, **options: Any) -> InstrumentedStatement:
        """Prepare a statement, which counts as an operation of its own."""
        statement = self._timer.metrics.statement(query)
        prepared = await self._timer.run(_on_table("prepare", statement), self.uninstrumented.prepare, query, **options)
        return InstrumentedStatement(prepared, self._timer, statement)

    def cursor(self, query: str, *arguments: Any, **options: Any) -> InstrumentedCursor:
        """Make a cursor, to be iterated over or awaited; it counts as one statement."""
        cursor = self.uninstrumented.cursor(query, *arguments, **options)
        return InstrumentedCursor(cursor, self._timer, self._timer.metrics.statement(query))

    def transaction(self, **options: Any) -> InstrumentedTransaction:
        return InstrumentedTransaction(self.uninstrumented.transaction(**options), self._timer, self.uninstrumented)


class InstrumentedStatement(Proxy):
    """Behaves as the prepared statement it is given, and counts its executions."""

    __slots__ = ()

    counted: ClassVar[Mapping[str, Describe]] = {
        **dict.fromkeys(_EXECUTING, lambda self, *_: self._statement),
        "explain": lambda self, *_: _on_table("explain", self._statement),
    }

    def cursor(self, *arguments: Any, **options: Any) -> InstrumentedCursor:
        return InstrumentedCursor(self.uninstrumented.cursor(*arguments, **options), self._timer, self._statement)


class InstrumentedTransaction(Proxy):
    """Behaves as the transaction it is given; a nested one, a savepoint, is not counted as a transaction."""

    __slots__ = ("_begun", "_connection")

    def __init__(self, transaction: Any, timer: CallTimer, connection: Any) -> None:
        """`connection` is the one the transaction is on."""
        super().__init__(transaction, timer)
        self._connection = connection
        self._begun = False
        """This is a transaction, no savepoint, and under way."""

    async def __aenter__(self) -> Any:
        return await self._begin(self.uninstrumented.__aenter__)

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> Any:
        return await self._end(self.uninstrumented.__aexit__, kind, *error, committing=kind is None)

    async def start(self) -> None:
        await self._begin(self.uninstrumented.start)

    async def commit(self) -> None:
        await self._end(self.uninstrumented.commit, committing=True)

    async def rollback(self) -> None:
        await self._end(self.uninstrumented.rollback, committing=False)

    async def _begin(self, call: Call) -> Any:
        nested = self._in_transaction()
        result = await self._timer.run(self._timer.metrics.transaction, call)
        self._begun = not nested
        return result

    async def _end(self, call: Call, /, *arguments: Any, committing: bool) -> Any:
        # The server answers COMMIT with ROLLBACK where a statement failed, and asyncpg says nothing of it.
        committed = committing and not self._timer.aborted
        try:
            return await self._timer.run(self._timer.metrics.transaction, call, *arguments)
        except BaseException:
            committed = False
            raise
        finally:
            if self._begun and not self._in_transaction():
                self._begun = False
                self._timer.metrics.record_transaction(committed=committed)

    def _in_transaction(self) -> bool:
        try:
            return bool(self._connection.is_in_transaction()) and not self._connection.is_closed()
        except Exception:  # noqa: BLE001 - the connection was given back to its pool
            return False


class InstrumentedCursor(Proxy):
    """Result of `cursor()`, to be iterated over or awaited, and then the rows or the open cursor.

    The time waited for rows is counted when there are no more or the cursor is dropped.
    """

    __slots__ = ("_seconds",)

    def __init__(self, cursor: Any, timer: CallTimer, statement: Statement | None) -> None:
        super().__init__(cursor, timer, statement)
        self._seconds: float | None = None
        """Time waited that is not counted yet; None before the first wait."""

    def __await__(self) -> Generator[Any, None, InstrumentedCursor]:
        return self._open().__await__()

    async def _open(self) -> InstrumentedCursor:
        cursor = InstrumentedCursor(self.uninstrumented, self._timer, self._statement)
        cursor.uninstrumented = await cursor._timed(lambda: self.uninstrumented)
        return cursor

    def __aiter__(self) -> InstrumentedCursor:
        rows = self.uninstrumented.__aiter__()
        return self if rows is self.uninstrumented else InstrumentedCursor(rows, self._timer, self._statement)

    async def __anext__(self) -> Any:
        return await self._timed(self.uninstrumented.__anext__)

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        return partial(self._timed, value) if name in {"fetch", "fetchrow", "forward"} else value

    async def _timed(self, call: Call, /, *arguments: Any, **options: Any) -> Any:
        started = monotonic_seconds()
        before, self._seconds = self._seconds or 0.0, None
        try:
            result = await call(*arguments, **options)
        except BaseException as error:
            seconds = before + monotonic_seconds() - started
            if isinstance(error, StopAsyncIteration):
                self._timer.metrics.record(self._statement, seconds)
            else:
                self._timer.failed(self._statement, seconds, error)
            raise
        self._seconds = before + monotonic_seconds() - started
        self._timer.aborted = False
        return result

    def __del__(self) -> None:
        if self._seconds is not None:
            self._timer.metrics.record(self._statement, self._seconds)
