"""Periodic work beside the host: on a thread with an event loop of its own, or on a loop that runs already.

A part describes its work, and gets jitter, back-off, a deadline, a clean stop and a restart after a fork::

    async def clean_up() -> None: ...

    thread = BackgroundThread("cleaning", lambda: [PeriodicTask("clean_up", clean_up, interval_seconds=60.0)], on_error)
    thread.start()
    ...
    thread.stop()
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.background.daemon_threads import STOP_SECONDS, join_until, run_on_own_loop
from ordinaut_ext_observability.background.fork import forks_held_off, reset_in_forked_child
from ordinaut_ext_observability.background.jitter import spread

LONGEST_PAUSE_SECONDS = 60.0
"""Longest pause after failures in a row, where the interval is shorter: a person who mended something waits it out."""

_CANCEL_SECONDS = 0.1
"""Time before the end of a stop when work that still runs is cancelled, so that it can close its connections."""

_ROUNDS = "observability-rounds"

ErrorListener = Callable[[str, Exception], None]
"""Called with a task's name and what its work raised."""


class PeriodicTask(NamedTuple):
    """Work that is done at once and then at every interval."""

    name: str
    work: Callable[[], Awaitable[float | None]]
    """One round. Returns the seconds until the next, or None for the interval; what it raises lengthens the pause."""
    interval_seconds: float
    deadline_seconds: float = 60.0
    """A round that takes longer is cancelled, and failed with `TimeoutError`."""
    finish: Callable[[], Awaitable[None]] | None = None
    """Called once at the end, also after cancelling: closes what the rounds opened."""
    jitter: float = 0.1
    """Share of a pause by which it is longer or shorter, so that processes do not work all at once."""


def backed_off(interval_seconds: float, failures: int) -> float:
    """The interval, doubled with every failure in a row after the first, up to `LONGEST_PAUSE_SECONDS`."""
    longest = max(LONGEST_PAUSE_SECONDS, interval_seconds)
    return min(interval_seconds * 2.0 ** min(max(failures - 1, 0), 16), longest)


def leave_untraced() -> None:
    """Have OpenTelemetry's instrumentations make no spans in this context: no request asks for our own work."""
    if "opentelemetry.context" in sys.modules:
        # Imported again: another thread may be in the middle of its first import, and this waits for it.
        context = importlib.import_module("opentelemetry.context")
        context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003, SLF001


async def run_periodically(task: PeriodicTask, stop: asyncio.Event, on_error: ErrorListener) -> None:
    """Do the task's rounds on the running loop until `stop` is set, or until this is cancelled."""
    failures = 0
    try:
        while not stop.is_set():
            wanted = None
            try:
                leave_untraced()
                async with asyncio.timeout(task.deadline_seconds):
                    wanted = await task.work()
                failures = 0
            except Exception as error:  # noqa: BLE001 - told to the listener; the next round is due all the same
                failures += 1
                on_error(task.name, error)
            pause = backed_off(task.interval_seconds, failures) if wanted is None else wanted
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(spread(pause, task.jitter)):
                    await stop.wait()
    finally:
        if task.finish is not None:
            await task.finish()


class BackgroundThread:
    """A daemon thread with an event loop of its own on which periodic tasks run.

    Nothing runs before `start`, and in a forked child nothing until it is started there.
    """

    def __init__(self, name: str, make_tasks: Callable[[], Iterable[PeriodicTask]], on_error: ErrorListener) -> None:
        """`make_tasks` is called in the thread, for what is slow to import; `on_error` also gets what it raises."""
        self._name = name
        self._make_tasks = make_tasks
        self._on_error = on_error
        self._of_parent: list[object] = []
        self._begin()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Forget the parent's thread and loop."""
        # Kept: what is thrown away closes itself, and would take the parent's sockets out of the parent's loop.
        self._of_parent.append((self._loop, self._rounds))
        self._begin()

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._rounds: list[asyncio.Task[None]] = []

    @property
    def started(self) -> bool:
        """True from `start` until `stop`."""
        return self._thread is not None

    def start(self) -> None:
        """Begin. Starting again does nothing."""
        if self._thread is None:
            self._stop, self._loop = stop, loop = asyncio.Event(), asyncio.new_event_loop()
            run, name = (lambda: run_on_own_loop(self._run_tasks(stop), loop)), f"observability-{self._name}"
            self._thread = threading.Thread(target=self._call, args=(run,), name=name, daemon=True)
            self._thread.start()

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> bool:
        """Have the thread call this between rounds; False where it was not started, or has ended.

        The listener to errors is told what the call raises.
        """
        loop = self._loop
        with contextlib.suppress(RuntimeError):  # the loop is closed
            if loop is not None:
                loop.call_soon_threadsafe(self._call, call, *arguments)
                return True
        return False

    def begin_stop(self) -> None:
        """Have the thread end after the round that runs. Safe without `start`, and more than once."""
        self.call_soon(self._stop.set)

    def stop(self, ends_at: float | None = None) -> None:
        """End until then, on `monotonic_seconds`, or within `STOP_SECONDS`. Safe without `start`, and twice.

        Work that blocks the thread for longer ends by itself, also where the next `start` made another thread.
        """
        self.begin_stop()
        if self._thread is not None:
            ends_at = ends_at or monotonic_seconds() + STOP_SECONDS
            join_until(self._thread, ends_at - _CANCEL_SECONDS)
            self.call_soon(_cancel_rounds)
            join_until(self._thread, ends_at)
        self._thread = self._loop = None

    def _call(self, call: Callable[..., object], *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - told to the listener; the rounds, and the host, go on
            self._on_error(self._name, error)

    async def _run_tasks(self, stop: asyncio.Event) -> None:
        with forks_held_off():
            rounds = [run_periodically(task, stop, self._on_error) for task in self._make_tasks()]
        # A group waits for all: one that was cancelled may have ended while another still closes its connections.
        async with asyncio.TaskGroup() as group:
            self._rounds = [group.create_task(each, name=_ROUNDS) for each in rounds]


def _cancel_rounds() -> None:
    """Cancel the rounds alone: a loop that ends has tasks of asyncio's own."""
    for task in asyncio.all_tasks():
        if task.get_name() == _ROUNDS:
            task.cancel()
