"""Stacks of threads and asyncio tasks, never with a value, and stalls of the host's event loop while they last."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.lifecycle import LoopWatch
from ordinaut_ext_observability.logs.event_types import EVENT_LOOP_BLOCKED, LogEvent
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.declarations import Metrics

STALL_SECONDS = 1.0  # the shortest that is noticed: every request is a slow one then, by the default of that setting
_PAUSE_SECONDS = 60.0  # between two captures: what happens again and again fills no log
_MAX_FRAMES = 30  # of a stack, the innermost: those further out are the server's


class StallWatch:
    """Counts stalls, and captures what blocks the loop and which requests wait, at most once a minute."""

    def __init__(self, loop_watch: LoopWatch, metrics: Metrics, clock: Clock, event: LogEvent) -> None:
        self._loop_watch, self._metrics, self._clock, self._event = loop_watch, metrics, clock, event
        self._lasts, self._next_capture_at, self._thread = False, 0.0, threading.Thread()
        self.requests_in_flight: Callable[[], list[dict[str, Any]] | None] = lambda: None
        """Gives facts of the oldest requests; called in the thread that looks."""

    def start(self) -> None:
        """Look in a thread until nothing is watched any more. Starting again does nothing."""
        if self._loop_watch.watching and not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="observability-stalls", daemon=True)
            self._thread.start()

    def look(self) -> float:
        """Notice a stall; returns the seconds until the next could be one."""
        seconds, lasted = self._loop_watch.blocked_seconds(), self._lasts
        self._lasts = seconds >= STALL_SECONDS
        if self._lasts and not lasted:
            if self._clock.monotonic() >= self._next_capture_at:
                self._capture(self._loop_watch, round(seconds, 3))
            self._metrics.event_loop_stalls.labels("api").inc()
        return STALL_SECONDS if self._lasts else STALL_SECONDS - seconds

    def _run(self) -> None:
        # Code in C that keeps the interpreter's lock hands it to who waits for it, and goes on in milliseconds: a loop
        # of ours comes too late then, this does not.
        while self._loop_watch.watching:
            try:
                time.sleep(self.look())
            except Exception:  # noqa: BLE001 - telemetry never breaks the host
                self._metrics.count_internal_error("stalls")

    def _capture(self, watch: LoopWatch, seconds: float) -> None:
        stack = thread_stack(watch.thread_id)  # first, see `_run`
        self._next_capture_at = self._clock.monotonic() + _PAUSE_SECONDS
        at, requests = timestamp(self._clock.wall()), self.requests_in_flight() or []
        watch.last_stall = {"time": at, "blocked_seconds": seconds, "stack": stack, "requests": requests}
        self._event(EVENT_LOOP_BLOCKED, blocked_seconds=seconds, stack=stack, requests=requests)


def thread_stack(identifier: int | None) -> list[str]:
    """Lines such as `/srv/app.py:31 load_rows`, the innermost frame first; none where there is no such thread."""
    frame, lines = sys._current_frames().get(identifier or 0), list[str]()  # noqa: SLF001 - the documented way
    while frame is not None and len(lines) < _MAX_FRAMES:
        lines.append(_line(frame))
        frame = frame.f_back
    return lines


def task_stack(task: asyncio.Task[Any]) -> list[str]:
    """The coroutines of a task that wait for one another. Safe from any thread."""
    lines, awaited = deque[str](maxlen=_MAX_FRAMES), cast("Any", task.get_coro())  # `get_stack` gives only this one
    while (frame := getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)) is not None:
        lines.appendleft(_line(frame))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return list(lines)


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
