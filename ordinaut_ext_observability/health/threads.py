"""Threads for functions that may never return."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

MAX_THREADS = 32
"""Runs at the same time; functions that hang keep theirs."""


class UnusualError(RuntimeError):
    """Stands for what a function raised, where a future cannot carry that or a loop would end of it."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"it raised {type(raised).__name__}")
        self.raised = raised


def is_ordinary(raised: BaseException) -> bool:
    """Whether a future can carry this to whoever waits."""
    return isinstance(raised, (Exception, asyncio.CancelledError)) and not isinstance(raised, StopIteration)


class NoThreadError(RuntimeError):
    """Every thread is taken by a function that has not returned."""


class DaemonThreads:
    """Runs functions in daemon threads, one each: unlike an executor's, they keep no process from ending."""

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._free = threading.BoundedSemaphore(max_threads)
        self._lock = threading.Lock()
        self._waiters: list[asyncio.Future[None]] = []

    def run(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """The function's result, on the running loop. Cancelling the future leaves the thread to itself.

        Raises:
            NoThreadError: no thread is free; see `freed`.
            RuntimeError: the system has none.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def deliver(result: Any, error: BaseException | None) -> None:
            if future.done():
                if inspect.iscoroutine(result):
                    result.close()  # nobody is there to await it any more
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - handed to whoever waits
                error = raised if is_ordinary(raised) else UnusualError(raised)
            finally:
                self._give_back()
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(deliver, result, error)

        if not self._free.acquire(blocking=False):
            raise NoThreadError("no thread is free: other checks hang")
        try:
            threading.Thread(target=work, name="observability-check", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise RuntimeError("the system has no more threads") from error
        return future

    def freed(self) -> asyncio.Future[None]:
        """Done, on the running loop, when a thread has been given back after this call."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiters = [other for other in self._waiters if not other.done()]
            self._waiters.append(waiter)
        return waiter

    def _give_back(self) -> None:
        with self._lock:
            self._free.release()
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                waiter.get_loop().call_soon_threadsafe(_finish, waiter)


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
