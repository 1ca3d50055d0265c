"""An asyncpg pool whose connections count what is done with them, and that counts waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.connection import CallTimer, InstrumentedConnection, Proxy
from ordinaut_ext_observability.db.definitions import DatabaseMetrics


class InstrumentedPool(Proxy):
    """Behaves as the pool it is given."""

    __slots__ = ("__weakref__", "_name")

    def __init__(self, pool: Any, metrics: DatabaseMetrics, name: str = "asyncpg") -> None:
        super().__init__(pool, CallTimer(metrics))
        self._name = name
        metrics.watch_pool(name, self, _use)

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        is_statement = name == "execute" or name in InstrumentedConnection.counted
        return partial(self._on_connection, name) if is_statement else value

    def acquire(self, **options: Any) -> InstrumentedAcquisition:
        return InstrumentedAcquisition(self.uninstrumented.acquire(**options), self._timer.metrics, self._name)

    async def release(self, connection: Any, **options: Any) -> None:
        if isinstance(connection, InstrumentedConnection):
            connection = connection.uninstrumented
        await self.uninstrumented.release(connection, **options)

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        await self.uninstrumented
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.uninstrumented.close()

    async def _on_connection(self, name: str, /, *arguments: Any, **options: Any) -> Any:
        async with self.acquire() as connection:
            return await getattr(connection, name)(*arguments, **options)


@dataclass(slots=True)
class InstrumentedAcquisition:
    """Result of `acquire()`, to be awaited or entered."""

    _acquisition: Any
    _metrics: DatabaseMetrics
    _name: str

    def __await__(self) -> Generator[Any, None, InstrumentedConnection]:
        return self._acquire(self._acquisition).__await__()

    async def __aenter__(self) -> InstrumentedConnection:
        return await self._acquire(self._acquisition.__aenter__())

    async def __aexit__(self, *error: object) -> None:
        await self._acquisition.__aexit__(*error)

    async def _acquire(self, acquiring: Awaitable[Any]) -> InstrumentedConnection:
        started = monotonic_seconds()
        try:
            connection = await acquiring
        except BaseException as error:
            self._metrics.record_wait(self._name, monotonic_seconds() - started, error)
            raise
        self._metrics.record_wait(self._name, monotonic_seconds() - started)
        return InstrumentedConnection(connection, self._metrics)


def _use(pool: InstrumentedPool) -> dict[str, int]:
    if pool.is_closing():
        return {}
    idle, size = pool.get_idle_size(), pool.get_size()
    return {"size": size, "idle": idle, "used": size - idle, "max": pool.get_max_size()}
