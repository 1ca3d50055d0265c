"""asyncpg cursors that count as one statement each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.call_timer import CallTimer, Proxy
from ordinaut_ext_observability.db.statement import Statement


class InstrumentedCursorFactory(Proxy):
    """What `cursor()` returns: to be iterated over or awaited."""

    __slots__ = ("_statement", "_timer")

    def __init__(self, factory: Any, statement: Statement | None, timer: CallTimer) -> None:
        super().__init__(factory)
        self._statement = statement
        self._timer = timer

    def __aiter__(self) -> InstrumentedCursor:
        return InstrumentedCursor(self._proxied.__aiter__(), self._statement, self._timer)

    def __await__(self) -> Generator[Any, None, InstrumentedCursor]:
        return InstrumentedCursor(self._proxied, self._statement, self._timer).open().__await__()


class InstrumentedCursor(Proxy):
    """An open cursor, or the rows of one.

    The time waited for rows is counted when there are no more or the cursor is dropped.
    """

    __slots__ = ("_counted", "_seconds", "_statement", "_timer")

    counted = frozenset({"fetch", "fetchrow", "forward"})

    def __init__(self, cursor: Any, statement: Statement | None, timer: CallTimer) -> None:
        super().__init__(cursor)
        self._statement = statement
        self._timer = timer
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
        except StopAsyncIteration:
            self._seconds += monotonic_seconds() - started
            self._end()
            raise
        except BaseException as error:
            self._timer.failed(self._statement, self._seconds + monotonic_seconds() - started, error)
            self._seconds, self._counted = 0.0, True
            raise
        self._seconds += monotonic_seconds() - started
        self._timer.aborted = False
        return result

    def _end(self) -> None:
        if not self._counted:
            self._counted = True
            self._timer.metrics.record(self._statement, self._seconds)

    def __del__(self) -> None:
        self._end()


async def _awaited(factory: Any) -> Any:
    return await factory
