"""Checks of the process itself: its event loop, its settings, and what its tasks come to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.lifecycle import LoopWatch
from ordinaut_ext_observability.health.model import CheckFunction, HealthStatus, Outcome
from ordinaut_ext_observability.health.run import BLOCKED_SECONDS
from ordinaut_ext_observability.health.setup import CheckParts
from ordinaut_ext_observability.metrics.family import Counter
from ordinaut_ext_observability.settings.load import Settings

_DEGRADED_BELOW, _UNHEALTHY_BELOW = 0.9, 0.5
"""Shares of executions that succeeded. One in ten fails in any system; where half do, something is broken."""

_MIN_EXECUTIONS = 10
"""With fewer in the window all is well: one failure of two says nothing."""

_WINDOW_SECONDS = 300.0


def make_checks(parts: CheckParts) -> Iterator[tuple[str, CheckFunction, dict[str, Any]]]:
    """None of them alone takes the process out of service."""
    yield "event_loop", partial(event_loop, parts.loop_watch), {"required": False}
    yield "task_success", TaskSuccessCheck(parts.metrics.task_executions, parts.clock).run, {"required": False}
    yield "settings", partial(unused_settings, parts.settings), {"required": False}


async def event_loop(watch: LoopWatch) -> Outcome:
    """Degraded when the loop was late of late. That it does not run at all shows as a stale result."""
    lag = watch.take_largest_lag()
    late = lag >= BLOCKED_SECONDS
    message = f"the event loop ran {lag:.3f} s late" if late else ""
    return Outcome(HealthStatus.DEGRADED if late else HealthStatus.HEALTHY, message, {"lag_seconds": round(lag, 3)})


class TaskSuccessCheck:
    """Reads `orchestrator_task_executions_total`; cancelled executions count neither way."""

    def __init__(self, executions: Counter, clock: Clock) -> None:
        self._executions = executions
        self._clock = clock
        # The time, and how many had succeeded and failed by then.
        self._readings: deque[tuple[float, float, float]] = deque(maxlen=1000)

    async def run(self) -> Outcome:
        readings, now = self._readings, self._read()
        while len(readings) > 1 and readings[1][0] <= now[0] - _WINDOW_SECONDS:
            readings.popleft()
        readings.append(now)
        seconds, succeeded, failed = (after - before for after, before in zip(now, readings[0], strict=True))
        details = {"succeeded": int(succeeded), "failed": int(failed), "seconds": round(seconds)}
        executions = succeeded + failed
        if executions < _MIN_EXECUTIONS or succeeded / executions >= _DEGRADED_BELOW:
            return Outcome(HealthStatus.HEALTHY, "", details)
        status = HealthStatus.UNHEALTHY if succeeded / executions < _UNHEALTHY_BELOW else HealthStatus.DEGRADED
        return Outcome(status, f"{failed:.0f} of {executions:.0f} executions failed", details)

    def _read(self) -> tuple[float, float, float]:
        by_status: dict[str, float] = {}
        for child in self._executions.children():
            by_status[child.label_values[0]] = by_status.get(child.label_values[0], 0.0) + child.value
        succeeded, cancelled = by_status.get("success", 0.0), by_status.get("cancelled", 0.0)
        return self._clock.monotonic(), succeeded, sum(by_status.values()) - succeeded - cancelled


async def unused_settings(settings: Settings) -> Outcome:
    """Degraded where settings could not be used."""
    if not (number := len(settings.problems)):
        return Outcome(HealthStatus.HEALTHY)
    return Outcome(
        HealthStatus.DEGRADED,
        f"{number} setting{'' if number == 1 else 's'} could not be used; GET /config and `doctor` name them",
        {"variables": [problem.variable for problem in settings.problems]},
    )
