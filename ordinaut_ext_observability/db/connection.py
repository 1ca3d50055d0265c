"""An asyncpg connection that counts what is done with it, and its prepared statements, transactions and cursors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.call_timer import CallTimer, Proxy
from ordinaut_ext_observability.db.definitions import TRANSACTION, DatabaseMetrics
from ordinaut_ext_observability.db.statement import Statement, usable_table

_BY_TEXT = frozenset({"executemany", "fetch", "fetchmany", "fetchrow", "fetchval"})
_BY_TABLE = frozenset({"copy_from_table", "copy_records_to_table", "copy_to_table"})
_FIRST = ("query", "command", "table_name")
"""Names of the first parameters of these."""


class InstrumentedConnection(Proxy):
    """Behaves as the connection it is given, and counts statements, their failures and transactions.

    Example:
        connection = InstrumentedConnection(await asyncpg.connect(url), metrics)
        rows = await connection.fetch("SELECT id FROM task WHERE status = $1", "active")
    """

    __slots__ = ("__weakref__", "_timer")

    counted = _BY_TEXT | _BY_TABLE | {"copy_from_query"}

    def __init__(self, connection: Any, metrics: DatabaseMetrics) -> None:
        super().__init__(connection)
        self._timer = CallTimer(metrics)

    @property
    def uninstrumented(self) -> Any:
        """The connection as it was given."""
        return self._proxied

    def execute(self, query: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Execute one or several statements; the status of the last."""
        statement = self._timer.metrics.statement(query)
        if statement is not None and statement.operation == TRANSACTION.operation:
            return self._control(statement, query, *arguments, **options)
        return self._timer.run(statement, self._proxied.execute, query, *arguments, **options)

    async def prepare(self, query: str, **options: Any) -> InstrumentedStatement:
        """Prepare a statement, which counts as an operation of its own."""
        statement = self._timer.metrics.statement(query)
        prepared = await self._timer.run(_on_table("prepare", statement), self._proxied.prepare, query, **options)
        return InstrumentedStatement(prepared, statement, self._timer)

    def cursor(self, query: str, *arguments: Any, **options: Any) -> InstrumentedCursorFactory:
        """Make a cursor, to be iterated over or awaited; it counts as one statement."""
        factory = self._proxied.cursor(query, *arguments, **options)
        return InstrumentedCursorFactory(factory, self._timer.metrics.statement(query), self._timer)

    def transaction(self, **options: Any) -> InstrumentedTransaction:
        """Make a transaction, or inside of one a savepoint."""
        return InstrumentedTransaction(self._proxied.transaction(**options), self._proxied, self._timer)

    def _count(
        self, name: str, call: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any
    ) -> Coroutine[Any, Any, Any]:
        # The first parameter of each is what it is counted by: the text of a statement or the name of a table.
        first = arguments[0] if arguments else next((options[name] for name in _FIRST if name in options), "")
        statement = (
            Statement("copy", usable_table(first)) if name in _BY_TABLE else self._timer.metrics.statement(first)
        )
        if name == "copy_from_query":
            statement = _on_table("copy", statement)
        return self._timer.run(statement, call, *arguments, **options)

    async def _control(self, statement: Statement, query: str, *arguments: Any, **options: Any) -> Any:
        """Execute what begins or ends a transaction by its text; the status says how it ended."""
        status = await self._timer.run(statement, self._proxied.execute, query, *arguments, **options)
        # ROLLBACK is also what the server says of ROLLBACK TO a savepoint.
        if status in {"COMMIT", "ROLLBACK"} and not self._proxied.is_in_transaction():
            self._timer.metrics.record_transaction(committed=status == "COMMIT")
        return status


class _StatementProxy(Proxy):
    """Counts calls as executions of one statement."""

    __slots__ = ("_statement", "_timer")

    def __init__(self, proxied: Any, statement: Statement | None, timer: CallTimer) -> None:
        super().__init__(proxied)
        self._statement = statement
        self._timer = timer


class InstrumentedStatement(_StatementProxy):
    """Behaves as the prepared statement it is given, and counts its executions."""

    __slots__ = ()

    counted = _BY_TEXT | {"explain"}

    def cursor(self, *arguments: Any, **options: Any) -> InstrumentedCursorFactory:
        """Make a cursor, to be iterated over or awaited."""
        return InstrumentedCursorFactory(self._proxied.cursor(*arguments, **options), self._statement, self._timer)

    def _count(
        self, name: str, call: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any
    ) -> Coroutine[Any, Any, Any]:
        statement = _on_table("explain", self._statement) if name == "explain" else self._statement
        return self._timer.run(statement, call, *arguments, **options)


class InstrumentedTransaction(Proxy):
    """Behaves as the transaction it is given; a nested one, a savepoint, is not counted as a transaction."""

    __slots__ = ("_begun", "_connection", "_timer")

    def __init__(self, transaction: Any, connection: Any, timer: CallTimer) -> None:
        """`connection` is the one the transaction is on."""
        super().__init__(transaction)
        self._connection = connection
        self._timer = timer
        self._begun = False
        """This is a transaction, no savepoint, and under way."""

    async def __aenter__(self) -> Any:
        return await self._begin(self._proxied.__aenter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        return await self._end(self._proxied.__aexit__, kind, error, traceback, committing=kind is None)

    async def start(self) -> None:
        """Enter the transaction or savepoint."""
        await self._begin(self._proxied.start)

    async def commit(self) -> None:
        """Leave the transaction or savepoint and keep its changes."""
        await self._end(self._proxied.commit, committing=True)

    async def rollback(self) -> None:
        """Leave the transaction or savepoint and drop its changes."""
        await self._end(self._proxied.rollback, committing=False)

    async def _begin(self, call: Callable[..., Awaitable[Any]]) -> Any:
        nested = self._in_transaction()
        result = await self._timer.run(TRANSACTION, call)
        self._begun = not nested
        return result

    async def _end(self, call: Callable[..., Awaitable[Any]], /, *arguments: Any, committing: bool) -> Any:
        # The server answers COMMIT with ROLLBACK where a statement failed, and asyncpg says nothing of it.
        committed = committing and not self._timer.aborted
        try:
            return await self._timer.run(TRANSACTION, call, *arguments)
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


class InstrumentedCursorFactory(_StatementProxy):
    """Result of `cursor()`, to be iterated over or awaited."""

    __slots__ = ()

    def __aiter__(self) -> InstrumentedCursor:
        return InstrumentedCursor(self._proxied.__aiter__(), self._statement, self._timer)

    def __await__(self) -> Generator[Any, None, InstrumentedCursor]:
        return InstrumentedCursor(self._proxied, self._statement, self._timer).open().__await__()


class InstrumentedCursor(_StatementProxy):
    """An open cursor, or the rows of one.

    The time waited for rows is counted when there are no more or the cursor is dropped.
    """

    __slots__ = ("_counted", "_seconds")

    counted = frozenset({"fetch", "fetchrow", "forward"})

    def __init__(self, cursor: Any, statement: Statement | None, timer: CallTimer) -> None:
        super().__init__(cursor, statement, timer)
        self._seconds = 0.0
        self._counted = True

    async def open(self) -> Self:
        """Await what is to become the cursor."""
        self._proxied = await self._count("", _awaited, self._proxied)
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._count("", self._proxied.__anext__)

    async def _count(self, _name: str, call: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any) -> Any:
        started = monotonic_seconds()
        self._counted = False
        try:
            result = await call(*arguments, **options)
        except BaseException as error:
            self._seconds += monotonic_seconds() - started
            if not isinstance(error, StopAsyncIteration):
                self._counted = True
                self._timer.failed(self._statement, self._seconds, error)
            self._end()
            raise
        self._seconds += monotonic_seconds() - started
        self._timer.aborted = False
        return result

    def _end(self) -> None:
        if not self._counted:
            self._timer.metrics.record(self._statement, self._seconds)
        self._seconds, self._counted = 0.0, True

    def __del__(self) -> None:
        self._end()


def _on_table(operation: str, statement: Statement | None) -> Statement:
    """An operation with a statement that is on the table of this one."""
    return Statement(operation, statement.table if statement is not None else "")


async def _awaited(factory: Any) -> Any:
    return await factory
