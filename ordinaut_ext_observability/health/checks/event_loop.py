"""A check of the host's event loop: how late it runs what is due."""

from __future__ import annotations

from ordinaut_ext_observability.health.loop_watch import LoopWatch
from ordinaut_ext_observability.health.model import HealthStatus, Outcome


class EventLoopCheck:
    """Degraded when the loop was late of late. That it does not run at all shows as a stale result."""

    def __init__(self, watch: LoopWatch, *, degraded_seconds: float = 1.0) -> None:
        self._watch = watch
        self._degraded_seconds = degraded_seconds

    async def run(self) -> Outcome:
        lag = self._watch.take_largest_lag()
        details = {"lag_seconds": round(lag, 3)}
        if lag < self._degraded_seconds:
            return Outcome(HealthStatus.HEALTHY, "", details)
        return Outcome(HealthStatus.DEGRADED, f"the event loop ran {lag:.3f} s late", details)
