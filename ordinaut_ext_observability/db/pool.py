"""An asyncpg pool whose connections count what is done with them, and that counts waits for them."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any, Self

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.connection import InstrumentedConnection
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.utilisation import PoolUse

POOL_NAME = "asyncpg"


class InstrumentedPool:
    """Behaves as the pool it is given."""

    __slots__ = ("__weakref__", "_metrics", "_name", "_pool")

    def __init__(self, pool: Any, metrics: DatabaseMetrics, name: str = POOL_NAME) -> None:
        self._pool = pool
        self._metrics = metrics
        self._name = name
        metrics.utilisation.watch(name, self, _use)

    def acquire(self, **options: Any) -> InstrumentedAcquisition:
        """A connection, by `await` or by `async with`."""
        return InstrumentedAcquisition(self._pool.acquire(**options), self._metrics, self._name)

    async def release(self, connection: Any, **options: Any) -> None:
        """Give a connection back."""
        if isinstance(connection, InstrumentedConnection):
            connection = connection.uninstrumented
        await self._pool.release(connection, **options)

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        """Execute one or several statements; the status of the last."""
        async with self.acquire() as connection:
            return await connection.execute(query, *arguments, **options)

    async def executemany(self, command: str, *arguments: Any, **options: Any) -> Any:
        """Execute for each sequence of arguments; counts as one statement."""
        async with self.acquire() as connection:
            return await connection.executemany(command, *arguments, **options)

    async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
        """All rows."""
        async with self.acquire() as connection:
            return await connection.fetch(query, *arguments, **options)

    async def fetchrow(self, query: str, *arguments: Any, **options: Any) -> Any:
        """The first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *arguments, **options)

    async def fetchval(self, query: str, *arguments: Any, **options: Any) -> Any:
        """A value of the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchval(query, *arguments, **options)

    async def copy_from_query(self, query: str, *arguments: Any, **options: Any) -> Any:
        """Copy a query's rows to a file; the status."""
        async with self.acquire() as connection:
            return await connection.copy_from_query(query, *arguments, **options)

    async def copy_from_table(self, table_name: str, **options: Any) -> Any:
        """Copy a table to a file; the status."""
        async with self.acquire() as connection:
            return await connection.copy_from_table(table_name, **options)

    async def copy_to_table(self, table_name: str, **options: Any) -> Any:
        """Copy a file to a table; the status."""
        async with self.acquire() as connection:
            return await connection.copy_to_table(table_name, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> Any:
        """Copy records to a table; the status."""
        async with self.acquire() as connection:
            return await connection.copy_records_to_table(table_name, **options)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._pool, name)
        if name == "fetchmany":  # of asyncpg 0.30 and later

            async def fetchmany(query: str, *arguments: Any, **options: Any) -> Any:
                async with self.acquire() as connection:
                    return await connection.fetchmany(query, *arguments, **options)

            return fetchmany
        return value

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._pool.close()

    def __repr__(self) -> str:
        return f"<InstrumentedPool {self._pool!r}>"

    async def _open(self) -> Self:
        await self._pool
        return self


class InstrumentedAcquisition:
    """What `acquire()` returns: to be awaited or entered."""

    __slots__ = ("_acquisition", "_metrics", "_name")

    def __init__(self, acquisition: Any, metrics: DatabaseMetrics, name: str) -> None:
        self._acquisition = acquisition
        self._metrics = metrics
        self._name = name

    def __await__(self) -> Generator[Any, None, InstrumentedConnection]:
        return self._acquire(entering=False).__await__()

    async def __aenter__(self) -> InstrumentedConnection:
        return await self._acquire(entering=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._acquisition.__aexit__(kind, error, traceback)

    async def _acquire(self, *, entering: bool) -> InstrumentedConnection:
        started = monotonic_seconds()
        try:
            connection = await (self._acquisition.__aenter__() if entering else self._acquisition)
        except BaseException as error:
            self._metrics.record_wait(self._name, monotonic_seconds() - started, error)
            raise
        self._metrics.record_wait(self._name, monotonic_seconds() - started)
        return InstrumentedConnection(connection, self._metrics)


def _use(pool: InstrumentedPool) -> PoolUse | None:
    if pool.is_closing():
        return None
    idle, size = pool.get_idle_size(), pool.get_size()
    return PoolUse(idle=idle, used=size - idle, max=pool.get_max_size())
