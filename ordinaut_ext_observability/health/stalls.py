"""Stacks of threads and asyncio tasks, never with a value, and stalls of the host's event loop while they last."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.lifecycle import LoopWatch
from ordinaut_ext_observability.logs.event_types import EVENT_LOOP_BLOCKED, LogEvent
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.declarations import Metrics

STALL_SECONDS = 1.0
"""Shortest stall that is noticed: every request is a slow one then, by the default of that setting."""

_PAUSE_SECONDS = 60.0  # between two captures: what happens again and again fills no log
_MAX_FRAMES = 30  # of a stack, the innermost: those further out are the server's


class StallWatch:
    """Counts stalls, and captures what blocks the loop and which requests wait, at most once a minute."""

    def __init__(self, loop_watch: LoopWatch, metrics: Metrics, clock: Clock, event: LogEvent) -> None:
        self._loop_watch, self._clock, self._event = loop_watch, clock, event
        self._count = metrics.event_loop_stalls.labels("api").inc
        self._lasts, self._next_capture_at = False, 0.0
        self.requests_in_flight: Callable[[], list[dict[str, Any]] | None] = lambda: None
        """Gives facts of the oldest requests; called in the thread that looks."""

    async def look(self) -> float:
        """Notice a stall, on another loop than the watched; returns the seconds until the next could be one."""
        blocked_seconds, now = self._loop_watch.blocked_seconds(), self._clock.monotonic()
        lasted, self._lasts = self._lasts, blocked_seconds >= STALL_SECONDS
        if self._lasts and not lasted:
            if now >= self._next_capture_at:
                self._next_capture_at = now + _PAUSE_SECONDS
                self._capture(round(blocked_seconds, 3))
            self._count()
        return STALL_SECONDS if self._lasts else STALL_SECONDS - blocked_seconds

    def _capture(self, seconds: float) -> None:
        watch = self._loop_watch
        stack = thread_stack(watch.thread_id)  # first: where code in C blocked, we run when it ends, and the loop soon
        task = asyncio.current_task(watch.loop) if watch.loop is not None else None
        # With the blocked task's own ids on the line. Before Python 3.12 a task does not tell its context.
        context: contextvars.Context = getattr(task, "get_context", contextvars.Context)().copy()
        requests = self.requests_in_flight() or []
        context.run(lambda: self._event(EVENT_LOOP_BLOCKED, blocked_seconds=seconds, stack=stack, requests=requests))
        facts = {"time": timestamp(self._clock.wall()), "blocked_seconds": seconds}
        watch.last_stall = {**facts, "stack": stack, "requests": requests}


def thread_stack(identifier: int | None) -> list[str]:
    """Lines such as `/srv/app.py:31 load_rows`, the innermost frame first; none where there is no such thread."""
    frame, lines = sys._current_frames().get(identifier or 0), list[str]()  # noqa: SLF001 - the documented way
    while frame is not None and len(lines) < _MAX_FRAMES:
        lines.append(_line(frame))
        frame = frame.f_back
    return lines


def task_stack(task: asyncio.Task[Any]) -> list[str]:
    """The coroutines of a task that wait for one another. Safe from any thread."""
    lines: deque[str] = deque(maxlen=_MAX_FRAMES)
    awaited: Any = task.get_coro()  # `Task.get_stack` gives only this one
    while (frame := getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)) is not None:
        lines.appendleft(_line(frame))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return list(lines)


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
