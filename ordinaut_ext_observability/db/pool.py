"""An asyncpg pool whose connections count what is done with them, and that counts waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Self

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.call_timer import Proxy
from ordinaut_ext_observability.db.connection import InstrumentedConnection
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.watched_pools import PoolUse


class InstrumentedPool(Proxy):
    """Behaves as the pool it is given."""

    __slots__ = ("__weakref__", "_metrics", "_name")

    counted = InstrumentedConnection.counted | {"execute"}

    def __init__(self, pool: Any, metrics: DatabaseMetrics, name: str = "asyncpg") -> None:
        super().__init__(pool)
        self._metrics = metrics
        self._name = name
        metrics.pools.watch(name, self, _use)

    def acquire(self, **options: Any) -> InstrumentedAcquisition:
        """Take a connection, by `await` or by `async with`."""
        return InstrumentedAcquisition(self._proxied.acquire(**options), self._metrics, self._name)

    async def release(self, connection: Any, **options: Any) -> None:
        """Give a connection back."""
        if isinstance(connection, InstrumentedConnection):
            connection = connection.uninstrumented
        await self._proxied.release(connection, **options)

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        await self._proxied
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._proxied.close()

    async def _count(self, name: str, _call: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any) -> Any:
        async with self.acquire() as connection:
            return await getattr(connection, name)(*arguments, **options)


class InstrumentedAcquisition:
    """Result of `acquire()`, to be awaited or entered."""

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
