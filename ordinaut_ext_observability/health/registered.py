"""A check that is registered: its runs, its latest result, its status."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from ordinaut_ext_observability.health.history import History
from ordinaut_ext_observability.health.hysteresis import Hysteresis
from ordinaut_ext_observability.health.model import (
    CheckFunction,
    CheckOptions,
    CheckReport,
    HealthCheck,
    HealthStatus,
    Transition,
)


class RegisteredCheck:
    """A check, its latest result and its status."""

    def __init__(self, name: str, function: CheckFunction, options: CheckOptions) -> None:
        self.name = name
        self.function = function
        self.options = options
        self.history = History()
        self.run: asyncio.Task[HealthCheck] | None = None
        self.ending: asyncio.Task[HealthCheck] | None = None
        """A run that was stopped and may not have noticed."""
        self.task: asyncio.Future[Any] | None = None
        self.thread: asyncio.Future[Any] | None = None
        self._hysteresis = Hysteresis(options.failures_to_worsen, options.passes_to_recover)
        # One tuple, since other threads read it: the status, the result, when that came.
        self._latest: tuple[HealthStatus, HealthCheck, float] | None = None

    def still_runs(self) -> bool:
        """Whether a run that took too long has not ended. Nobody will ever hear of one on a loop that was closed."""
        return any(
            future is not None and not future.done() and not future.get_loop().is_closed()
            for future in (self.task, self.thread)
        )

    def take(self, result: HealthCheck, ended: float, now: datetime) -> Transition | None:
        """Take a run's result, which came at `ended` on the monotonic clock; the transition it made, if it made one."""
        before = self._hysteresis.status
        after = self._hysteresis.observe(result.status)
        self._latest = (after, result, ended)
        if after is before:
            return None
        transition = Transition(now, before, after, result.message)
        self.history.add(transition)
        return transition

    def report(self, now: float, stale_after: float) -> CheckReport:
        """The check as it stands at `now` on the monotonic clock."""
        required = self.options.required
        if self._latest is None:
            return CheckReport(
                self.name,
                HealthStatus.UNHEALTHY,
                required,
                stale=False,
                age_seconds=None,
                message="not run yet",
                last=None,
            )
        status, last, ended = self._latest
        age = max(0.0, now - ended)
        stale = age > stale_after
        return CheckReport(
            name=self.name,
            status=HealthStatus.UNHEALTHY if stale else status,
            required=required,
            stale=stale,
            age_seconds=round(age, 3),
            message=f"no result for {age:.0f} s" if stale else last.message,
            last=last,
        )
