"""asyncpg cursors that count as one statement each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.definitions import StatementSeries
from ordinaut_ext_observability.db.measuring import Measuring


class _Waits:
    """The time waited for a cursor's rows, counted when there are no more or the cursor is dropped."""

    __slots__ = ("_measuring", "_over", "_seconds", "_series")

    def __init__(self, series: StatementSeries | None, measuring: Measuring) -> None:
        self._series = series
        self._measuring = measuring
        self._seconds = 0.0
        self._over = True

    async def wait(self, call: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any) -> Any:
        """What the call returns or raises; the end of an iteration is the end of the cursor."""
        started = monotonic_seconds()
        self._over = False
        try:
            result = await call(*arguments, **options)
        except StopAsyncIteration:
            self._seconds += monotonic_seconds() - started
            self.end()
            raise
        except BaseException as error:
            self._measuring.failed(self._series, self._seconds + monotonic_seconds() - started, error)
            self._seconds, self._over = 0.0, True
            raise
        self._seconds += monotonic_seconds() - started
        self._measuring.aborted = False
        return result

    def end(self) -> None:
        """Count what has been waited, once."""
        if not self._over:
            self._over = True
            self._measuring.metrics.record(self._series, self._seconds)

    def __del__(self) -> None:
        self.end()


class InstrumentedCursorFactory:
    """What `cursor()` returns: to be iterated over or awaited."""

    __slots__ = ("_factory", "_measuring", "_series")

    def __init__(self, factory: Any, series: StatementSeries | None, measuring: Measuring) -> None:
        self._factory = factory
        self._series = series
        self._measuring = measuring

    def __aiter__(self) -> InstrumentedCursorIterator:
        return InstrumentedCursorIterator(self._factory.__aiter__(), _Waits(self._series, self._measuring))

    def __await__(self) -> Generator[Any, None, InstrumentedCursor]:
        return self._open().__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._factory, name)

    async def _open(self) -> InstrumentedCursor:
        waits = _Waits(self._series, self._measuring)
        return InstrumentedCursor(await waits.wait(_awaited, self._factory), waits)


class InstrumentedCursorIterator:
    """The rows of a cursor."""

    __slots__ = ("_rows", "_waits")

    def __init__(self, rows: Any, waits: _Waits) -> None:
        self._rows = rows
        self._waits = waits

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._waits.wait(self._rows.__anext__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)


class InstrumentedCursor:
    """An open cursor, for rows at the caller's pace."""

    __slots__ = ("_cursor", "_waits")

    def __init__(self, cursor: Any, waits: _Waits) -> None:
        self._cursor = cursor
        self._waits = waits

    async def fetch(self, *arguments: Any, **options: Any) -> Any:
        """The next rows."""
        return await self._waits.wait(self._cursor.fetch, *arguments, **options)

    async def fetchrow(self, **options: Any) -> Any:
        """The next row, or None."""
        return await self._waits.wait(self._cursor.fetchrow, **options)

    async def forward(self, *arguments: Any, **options: Any) -> Any:
        """Skip rows; the number skipped."""
        return await self._waits.wait(self._cursor.forward, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __repr__(self) -> str:
        return f"<InstrumentedCursor {self._cursor!r}>"


async def _awaited(factory: Any) -> Any:
    return await factory
