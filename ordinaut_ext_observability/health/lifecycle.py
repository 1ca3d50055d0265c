"""Where the process is in its life: what the probes of an orchestrator ask."""

from __future__ import annotations

from dataclasses import dataclass

from ordinaut_ext_observability.health.loop_watch import LoopWatch
from ordinaut_ext_observability.health.model import HealthReport, HealthStatus
from ordinaut_ext_observability.health.monitor import HealthMonitor


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer to one probe: `ok`, or `unavailable` for a reason."""

    reason: str = ""

    @property
    def status(self) -> str:
        return "unavailable" if self.reason else "ok"

    @property
    def http_status(self) -> int:
        return 503 if self.reason else 200


class Lifecycle:
    """Started, ready, alive. Answers are read from memory: a probe never waits for anything."""

    def __init__(self, loop_watch: LoopWatch, loop_blocked_seconds: float, monitor: HealthMonitor) -> None:
        self._loop_watch = loop_watch
        self._loop_blocked_seconds = loop_blocked_seconds
        self._monitor = monitor
        self._started = self._stopping = False

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
        blocked = self._loop_watch.blocked_seconds() > self._loop_blocked_seconds
        return ProbeResult("event_loop_blocked" if blocked else "")

    def ready(self, report: HealthReport | None = None) -> ProbeResult:
        """Unavailable while starting or stopping, when not alive, and when a required check is unhealthy or unknown.

        `report` is what is known of the checks; without one the monitor is asked for it.
        """
        if not self._started or self._stopping:
            return ProbeResult("stopping" if self._started else "starting")
        if (live := self.live()).reason:
            return live
        report = report or self._monitor.report()
        if report.status is HealthStatus.UNHEALTHY:
            return ProbeResult("unhealthy")
        return ProbeResult("" if report.required_are_known else "unknown")

    def startup(self) -> ProbeResult:
        """Unavailable until the host has finished starting."""
        return ProbeResult("" if self._started else "starting")
