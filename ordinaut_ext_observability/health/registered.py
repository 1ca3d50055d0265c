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

    def __init__(self, name: str, function: CheckFunction, options: CheckOptions, now: float) -> None:
        """`now` is on the monotonic clock."""
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
        self._latest: tuple[HealthStatus | None, HealthCheck, float] | None = None
        self._known_at = now

    @property
    def known(self) -> bool:
        """False until a run found something out."""
        return self._hysteresis.status is not None

    @property
    def finds_trouble(self) -> bool:
        """True while something is known, and it is not good."""
        return self._hysteresis.status not in (None, HealthStatus.HEALTHY)

    def unknown_seconds(self, now: float, started_at: float) -> float:
        """Seconds for which nothing has been known, since the registration or the monitor's start."""
        return max(0.0, now - max(self._known_at, started_at))

    def still_runs(self) -> bool:
        """Whether a run that took too long has not ended. Nobody will ever hear of one on a loop that was closed."""
        return any(
            future is not None and not future.done() and not future.get_loop().is_closed()
            for future in (self.task, self.thread)
        )

    def take(self, result: HealthCheck, ended: float, now: datetime) -> Transition | None:
        """Take a run's result, which came at `ended` on the monotonic clock; the transition it made, if it made one."""
        before = self._hysteresis.status
        after = self._hysteresis.observe(result.status if result.known else None)
        if after is not None:
            self._known_at = ended
        self._latest = (after, result, ended)
        if after is before:
            return None
        transition = Transition(now, before, after, result.message)
        self.history.add(transition)
        return transition

    def report(self, now: float, *, stale_after: float, started_at: float, grace_seconds: float) -> CheckReport:
        """The check as it stands at `now` on the monotonic clock.

        Where nothing has been known for longer than the grace, a required check is unhealthy.
        """
        status, last, age, message = None, None, None, "not run yet"
        if self._latest is not None:
            status, last, ended = self._latest
            age, message = max(0.0, now - ended), last.message
        stale = age is not None and age > stale_after
        if stale:
            status, message = HealthStatus.UNHEALTHY, f"no result for {age:.0f} s"
        elif status is None and (seconds := self.unknown_seconds(now, started_at)) > grace_seconds:
            message = f"{message}; nothing has been known for {seconds:.0f} s"
            status = HealthStatus.UNHEALTHY if self.options.required else None
        return CheckReport(
            name=self.name,
            status=status or HealthStatus.DEGRADED,
            required=self.options.required,
            stale=stale,
            age_seconds=round(age, 3) if age is not None else None,
            message=message,
            last=last,
            known=status is not None,
        )
