"""Where the process is in its life: what the probes of an orchestrator ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ordinaut_ext_observability.health.loop_watch import LoopWatch
from ordinaut_ext_observability.health.model import HealthReport, HealthStatus

ProbeStatus = Literal["ok", "unavailable"]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer to one probe."""

    status: ProbeStatus
    reason: str
    """Empty when the status is ok."""

    @property
    def http_status(self) -> int:
        """200 or 503."""
        return 200 if self.status == "ok" else 503


_OK = ProbeResult("ok", "")


class Lifecycle:
    """Started, ready, alive. Answers are read from memory: a probe never waits for anything."""

    def __init__(self, loop_watch: LoopWatch, loop_blocked_seconds: float, health: Callable[[], HealthReport]) -> None:
        """`health` tells of all checks, from memory."""
        self._loop_watch = loop_watch
        self._health = health
        self._loop_blocked_seconds = loop_blocked_seconds
        self._started = False
        self._stopping = False

    def mark_starting(self) -> None:
        """The host begins to start, perhaps after having been shut down."""
        self._stopping = False

    def mark_started(self) -> None:
        """The host has finished starting. This latches: a started process never counts as starting again."""
        self._started = True

    def mark_stopping(self) -> None:
        """The host is shutting down: it should get no new work."""
        self._stopping = True

    def live(self) -> ProbeResult:
        """Unavailable when the event loop has been blocked for too long; nothing else counts."""
        if self._loop_watch.blocked_seconds() > self._loop_blocked_seconds:
            return ProbeResult("unavailable", "event_loop_blocked")
        return _OK

    def ready(self, report: HealthReport | None = None) -> ProbeResult:
        """Unavailable while starting or stopping, when not alive, and when a required check is unhealthy or unknown.

        `report` is what is known of the checks; without one it is asked for.
        """
        if not self._started:
            return ProbeResult("unavailable", "starting")
        if self._stopping:
            return ProbeResult("unavailable", "stopping")
        live = self.live()
        if live.status != "ok":
            return live
        report = report or self._health()
        if report.status is HealthStatus.UNHEALTHY:
            return ProbeResult("unavailable", "unhealthy")
        return _OK if report.required_are_known else ProbeResult("unavailable", "unknown")

    def startup(self) -> ProbeResult:
        """Unavailable until the host has finished starting."""
        return _OK if self._started else ProbeResult("unavailable", "starting")
