"""An asyncpg connection that counts what is done with it.

The arguments of its methods are asyncpg's, whichever release it is, and are passed on as they are; they are neither
looked at nor kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ordinaut_ext_observability.db.cursor import InstrumentedCursorFactory
from ordinaut_ext_observability.db.definitions import DatabaseMetrics, StatementSeries
from ordinaut_ext_observability.db.measuring import Measuring
from ordinaut_ext_observability.db.prepared import InstrumentedStatement
from ordinaut_ext_observability.db.transaction import InstrumentedTransaction


class InstrumentedConnection:
    """Behaves as the connection it is given, and counts statements, their failures and transactions.

    Example:
        connection = InstrumentedConnection(await asyncpg.connect(url), metrics)
        rows = await connection.fetch("SELECT id FROM task WHERE status = $1", "active")
    """

    __slots__ = ("__weakref__", "_connection", "_measuring")

    def __init__(self, connection: Any, metrics: DatabaseMetrics) -> None:
        self._connection = connection
        self._measuring = Measuring(metrics)

    @property
    def uninstrumented(self) -> Any:
        """The connection as it was given."""
        return self._connection

    def execute(self, query: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Execute one or several statements; the status of the last."""
        measuring = self._measuring
        series = measuring.metrics.statement(query)
        if series is not None and series.operation == "transaction":
            return self._control(series, query, *arguments, **options)
        return measuring.run(series, self._connection.execute, query, *arguments, **options)

    def executemany(self, command: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Execute for each sequence of arguments; counts as one statement."""
        return self._run(command, self._connection.executemany, command, *arguments, **options)

    def fetch(self, query: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """All rows."""
        return self._run(query, self._connection.fetch, query, *arguments, **options)

    def fetchrow(self, query: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """The first row, or None."""
        return self._run(query, self._connection.fetchrow, query, *arguments, **options)

    def fetchval(self, query: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """A value of the first row, or None."""
        return self._run(query, self._connection.fetchval, query, *arguments, **options)

    async def prepare(self, query: str, **options: Any) -> InstrumentedStatement:
        """A prepared statement; preparing counts as an operation of its own."""
        measuring = self._measuring
        series = measuring.metrics.statement(query)
        preparing = measuring.metrics.operation("prepare", series.table if series else "")
        statement = await measuring.run(preparing, self._connection.prepare, query, **options)
        return InstrumentedStatement(statement, series, measuring)

    def cursor(self, query: str, *arguments: Any, **options: Any) -> InstrumentedCursorFactory:
        """To be iterated over or awaited; counts as one statement."""
        factory = self._connection.cursor(query, *arguments, **options)
        return InstrumentedCursorFactory(factory, self._measuring.metrics.statement(query), self._measuring)

    def transaction(self, **options: Any) -> InstrumentedTransaction:
        """A transaction, or inside of one a savepoint."""
        transaction = self._connection.transaction(**options)
        return InstrumentedTransaction(transaction, self._connection, self._measuring)

    def copy_from_query(self, query: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Copy a query's rows to a file; the status."""
        series = self._measuring.metrics.statement(query)
        return self._copy(
            series.table if series else "", self._connection.copy_from_query, query, *arguments, **options
        )

    def copy_from_table(self, table_name: str, **options: Any) -> Coroutine[Any, Any, Any]:
        """Copy a table to a file; the status."""
        return self._copy(table_name, self._connection.copy_from_table, table_name, **options)

    def copy_to_table(self, table_name: str, **options: Any) -> Coroutine[Any, Any, Any]:
        """Copy a file to a table; the status."""
        return self._copy(table_name, self._connection.copy_to_table, table_name, **options)

    def copy_records_to_table(self, table_name: str, **options: Any) -> Coroutine[Any, Any, Any]:
        """Copy records to a table; the status."""
        return self._copy(table_name, self._connection.copy_records_to_table, table_name, **options)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._connection, name)
        if name == "fetchmany":  # of asyncpg 0.30 and later

            async def fetchmany(query: str, *arguments: Any, **options: Any) -> Any:
                return await self._run(query, value, query, *arguments, **options)

            return fetchmany
        return value

    def __repr__(self) -> str:
        return f"<InstrumentedConnection {self._connection!r}>"

    def _run(
        self, query: str, call: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any
    ) -> Coroutine[Any, Any, Any]:
        measuring = self._measuring
        return measuring.run(measuring.metrics.statement(query), call, *arguments, **options)

    def _copy(
        self, table: str, call: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any
    ) -> Coroutine[Any, Any, Any]:
        measuring = self._measuring
        return measuring.run(measuring.metrics.operation("copy", table), call, *arguments, **options)

    async def _control(self, series: StatementSeries, query: str, *arguments: Any, **options: Any) -> Any:
        """Execute what begins or ends a transaction by its text; the status says how it ended."""
        status = await self._measuring.run(series, self._connection.execute, query, *arguments, **options)
        # ROLLBACK is also what the server says of ROLLBACK TO a savepoint.
        if status in {"COMMIT", "ROLLBACK"} and not self._connection.is_in_transaction():
            self._measuring.metrics.record_transaction(committed=status == "COMMIT")
        return status
