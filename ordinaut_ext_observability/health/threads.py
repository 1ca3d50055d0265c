"""Threads for functions that may never return."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

MAX_THREADS = 32
"""Runs at the same time; functions that hang keep theirs."""


class NoThreadError(RuntimeError):
    """Every thread is taken by a function that has not returned."""


class DaemonThreads:
    """Runs functions in daemon threads, one each: unlike an executor's, they keep no process from ending."""

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._free = threading.BoundedSemaphore(max_threads)

    def run(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """The function's result, on the running loop. Cancelling the future leaves the thread to itself.

        Raises:
            NoThreadError: no thread is free, or the system has none.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def deliver(result: Any, error: BaseException | None) -> None:
            if future.done():
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
                # A future cannot carry the first, and the others would end the loop.
                ends = isinstance(raised, (StopIteration, SystemExit, KeyboardInterrupt))
                error = RuntimeError(f"it raised {type(raised).__name__}") if ends else raised
            finally:
                self._free.release()
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(deliver, result, error)

        if not self._free.acquire(blocking=False):
            raise NoThreadError("no thread is free: other checks hang")
        try:
            threading.Thread(target=work, name="observability-check", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise NoThreadError("the system has no more threads") from error
        return future
