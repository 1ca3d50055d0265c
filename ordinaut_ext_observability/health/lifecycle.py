"""The answers to an orchestrator's probes: where the process is in its life, and how late its event loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.model import HealthReport, HealthStatus
from ordinaut_ext_observability.health.monitor import HealthMonitor

BEAT_SECONDS = 0.5
"""Time between signs of life of the loop: each wakes an idle process, and half a second is no stall yet."""


class LoopWatch:
    """A timer on the watched loop that notes when it runs; everybody else reads how long ago that was."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due_at = 0.0
        self._lag_seconds = self._largest_lag_seconds = 0.0
        self.thread_id = 0  # the loop's
        self.last_stall: dict[str, object] | None = None
        """The last stall, as it was captured."""

    @property
    def watching(self) -> bool:
        """True while there is a loop to judge."""
        loop = self._loop  # read once: another thread may stop the watch
        return loop is not None and not loop.is_closed()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop, from its own thread. Watching the same loop again does nothing."""
        if self._loop is not loop:
            self._loop, self._lag_seconds, self.thread_id = loop, 0.0, threading.get_ident()
            self._schedule(loop)

    def stop(self) -> None:
        """Watch nothing. Safe without `start`, and from any thread."""
        self._loop, self._lag_seconds = None, 0.0

    def lag_seconds(self) -> float:
        """Seconds by which the timer is late now, or was when it last ran: 0 for a loop that keeps up."""
        return max(self.blocked_seconds(), self._lag_seconds) if self.watching else 0.0

    def take_largest_lag(self) -> float:
        """The largest lag since this was last asked, in seconds."""
        largest, self._largest_lag_seconds = self._largest_lag_seconds, 0.0
        return max(largest, self.lag_seconds())

    def blocked_seconds(self) -> float:
        """Seconds for which the loop has not run although it should have; 0 while nothing is watched."""
        return max(0.0, self._clock.monotonic() - self._due_at) if self.watching else 0.0

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_at = self._clock.monotonic() + BEAT_SECONDS
        loop.call_later(BEAT_SECONDS, self._beat, loop, self._due_at)

    def _beat(self, loop: asyncio.AbstractEventLoop, due_at: float) -> None:
        if self._loop is loop and self._due_at == due_at:  # else it was stopped, and perhaps started again
            self._lag_seconds = self.blocked_seconds()
            self._largest_lag_seconds = max(self._largest_lag_seconds, self._lag_seconds)
            self._schedule(loop)


class Lifecycle:
    """Started, ready, alive: each why not, "" where it is so. Read from memory: a probe never waits for anything."""

    def __init__(self, loop_watch: LoopWatch, loop_blocked_seconds: float, monitor: HealthMonitor) -> None:
        self.loop_watch = loop_watch
        self._loop_blocked_seconds = loop_blocked_seconds
        self.monitor = monitor
        self.mounted = False
        """True once an application serves our endpoints."""
        self.started = False
        """True once the host has finished starting; a started process never counts as starting again."""
        self.stopping = False
        """True while the host is shutting down, and until it starts again: it should get no new work."""

    def start_watching(self) -> None:
        """Watch the running loop, and run checks on it. Without one, it is watched from the first request on."""
        with contextlib.suppress(RuntimeError):
            self.loop_watch.start(asyncio.get_running_loop())
            self.monitor.start()

    def stop_watching(self) -> None:
        """End what runs on the host's loop; call it there, or once the loop is closed."""
        self.loop_watch.stop()
        self.monitor.stop()

    def why_not_live(self) -> str:
        """The reason while the event loop has been blocked for too long; nothing else counts."""
        return "event_loop_blocked" if self.loop_watch.blocked_seconds() > self._loop_blocked_seconds else ""

    def why_not_started(self) -> str:
        """The reason until the host has finished starting."""
        return "" if self.started else "starting"

    def why_not_ready(self, report: HealthReport | None = None) -> str:
        """The reason while starting, stopping or not alive, or a required check is unhealthy or unknown.

        Without a `report` on the checks the monitor is asked for one.
        """
        if reason := self.why_not_started() or ("stopping" if self.stopping else self.why_not_live()):
            return reason
        report = report or self.monitor.report()
        if report.status is HealthStatus.UNHEALTHY:
            return "unhealthy"
        return "" if all(check.known for check in report.checks if check.required) else "unknown"
