"""Calls that may hang, in threads that nothing waits for.

Resolving a name can take half a minute and cannot be cancelled. asyncio does it in an executor whose threads the end
of a loop waits for, and the end of the interpreter again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

from ordinaut_ext_observability.background.clock import monotonic_seconds

ResultT = TypeVar("ResultT")

STOP_SECONDS = 0.25
"""The time all parts together may wait when they stop. Lines are written after that: in all, below half a second."""

_LONGEST_WORK_SECONDS = 5.0
"""The longest wait for a part that still works: its work takes milliseconds, but the machine may be overwhelmed."""


class DaemonExecutor(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own. Shutting it down waits for none of them."""

    def submit(self, fn: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> Future[ResultT]:
        """Start the call. Raises RuntimeError where there are no more threads, as while the interpreter ends."""
        future: Future[ResultT] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                    future.set_exception(error)

        threading.Thread(target=run, name="observability-call", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        """Do nothing: a call that still runs ends by itself, or with the process."""


def join_until(thread: threading.Thread, ends_at: float | None) -> None:
    """Wait for the thread until this time of `monotonic_seconds`; None: for as long as a stop may take.

    What the thread works meanwhile comes on top, a few seconds at most: a driver that is still being imported, or a
    busy machine, hangs for nobody.
    """
    begun, ran = monotonic_seconds(), _running_seconds(thread)
    patience = STOP_SECONDS if ends_at is None else ends_at - begun
    while thread.is_alive():
        passed, worked = monotonic_seconds() - begun, _running_seconds(thread) - ran
        left = min(patience + worked, patience + _LONGEST_WORK_SECONDS) - passed
        if left <= 0:
            return
        thread.join(left)


def _running_seconds(thread: threading.Thread) -> float:
    """The seconds the thread has used a processor, or wanted to; 0 where the system does not tell."""
    try:
        used, wanted, _ = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text("ascii").split()
    except (OSError, ValueError):
        return 0.0
    return (int(used) + int(wanted)) / 1e9


def run_on_own_loop(main: Coroutine[Any, Any, ResultT], loop: asyncio.AbstractEventLoop | None = None) -> ResultT:
    """`asyncio.run`, on this loop or a new one, but its end waits for no thread."""

    async def run() -> ResultT:
        asyncio.get_running_loop().set_default_executor(DaemonExecutor())
        return await main

    with asyncio.Runner(loop_factory=None if loop is None else lambda: loop) as runner:
        return runner.run(run())


_calls = DaemonExecutor()


async def in_daemon_thread(function: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """The result of a call in a thread of ours; on the host's loop `asyncio.to_thread` takes one of the host's."""
    return await asyncio.get_running_loop().run_in_executor(_calls, copy_context().run, function, *arguments)


def call_within(seconds: float, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Call the function in a thread; return or raise as it does, or TimeoutError: it is left to itself then."""
    return DaemonExecutor().submit(function, *arguments).result(seconds)
