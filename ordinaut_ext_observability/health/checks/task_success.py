"""A check of what the process's tasks come to: the share that succeeded of late."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.metrics.family import Counter


class _Totals(NamedTuple):
    at: float
    succeeded: float
    failed: float


class TaskSuccessCheck:
    """Reads `orchestrator_task_executions_total`; cancelled executions count neither way."""

    def __init__(
        self,
        executions: Counter,
        clock: Clock,
        *,
        degraded_below: float = 0.9,
        unhealthy_below: float = 0.5,
        window_seconds: float = 300.0,
        min_executions: int = 10,
    ) -> None:
        """The ratios are from 0 to 1; with fewer executions in the window than `min_executions` all is well."""
        self._executions = executions
        self._clock = clock
        self._degraded_below = degraded_below
        self._unhealthy_below = unhealthy_below
        self._window_seconds = window_seconds
        self._min_executions = min_executions
        self._readings: deque[_Totals] = deque(maxlen=1000)

    async def run(self) -> Outcome:
        now = self._read()
        while len(self._readings) > 1 and self._readings[1].at <= now.at - self._window_seconds:
            self._readings.popleft()
        before = self._readings[0] if self._readings else now
        self._readings.append(now)
        succeeded, failed = now.succeeded - before.succeeded, now.failed - before.failed
        executions = succeeded + failed
        details = {"succeeded": int(succeeded), "failed": int(failed), "seconds": round(now.at - before.at)}
        if executions < self._min_executions:
            return Outcome(HealthStatus.HEALTHY, "", details)
        ratio = succeeded / executions
        if ratio >= self._degraded_below:
            return Outcome(HealthStatus.HEALTHY, "", details)
        status = HealthStatus.UNHEALTHY if ratio < self._unhealthy_below else HealthStatus.DEGRADED
        return Outcome(status, f"{failed:.0f} of {executions:.0f} executions failed", details)

    def _read(self) -> _Totals:
        succeeded = failed = 0.0
        for child in self._executions.children():
            status = child.label_values[0]
            if status == "success":
                succeeded += child.value
            elif status != "cancelled":
                failed += child.value
        return _Totals(self._clock.monotonic(), succeeded, failed)
