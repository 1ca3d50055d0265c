"""Calls that may hang, in threads that nothing waits for.

Resolving a name can take half a minute and cannot be cancelled. asyncio does it in an executor whose threads the end
of a loop waits for, and the end of the interpreter again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ordinaut_ext_observability.clock import monotonic_seconds

ResultT = TypeVar("ResultT")

STOP_SECONDS = 0.3
"""Longest time that all parts take to stop. Lines are written after that: in all it stays below half a second."""


class DaemonExecutor(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own. Shutting it down waits for none of them."""

    def submit(self, fn: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> Future[ResultT]:
        """Start the call.

        Raises:
            RuntimeError: there are no more threads, as while the interpreter ends.
        """
        future: Future[ResultT] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name="observability-call", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        """Do nothing: a call that still runs ends by itself, or with the process."""


def join_until(thread: threading.Thread, ends_at: float | None) -> None:
    """Wait for the thread until this time of `monotonic_seconds`; None: for as long as a stop may take."""
    thread.join(STOP_SECONDS if ends_at is None else max(0.0, ends_at - monotonic_seconds()))


def run_on_own_loop(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """`asyncio.run`, but its end waits for no thread."""

    async def run() -> ResultT:
        asyncio.get_running_loop().set_default_executor(DaemonExecutor())
        return await main

    return asyncio.run(run())


def call_within(seconds: float, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Call the function in a thread; return or raise as it does.

    Raises:
        TimeoutError: it takes longer; it is left to itself.
    """
    return DaemonExecutor().submit(function, *arguments).result(seconds)
