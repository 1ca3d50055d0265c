"""A check that is registered, and its status over time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ordinaut_ext_observability.health.model import (
    CheckFunction,
    CheckOptions,
    CheckReport,
    HealthCheck,
    HealthStatus,
    Transition,
)
from ordinaut_ext_observability.health.run import CheckRun, is_coroutine_function

MAX_TRANSITIONS = 100
"""Transitions kept per check. A check that flaps at every run of the default interval fills them in half an hour."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_UP = (HealthStatus.HEALTHY, HealthStatus.DEGRADED)


class Hysteresis:
    """A status that does not flap. The first result counts at once.

    It becomes worse when the last `failures_to_worsen` runs were all worse, and then as bad as the best of them; it
    becomes better when the last `passes_to_recover` runs were all better, and then as good as the worst of them.
    Nothing is known any more when the last `failures_to_worsen` runs found out nothing.
    """

    def __init__(self, failures_to_worsen: int, passes_to_recover: int) -> None:
        self._failures_to_worsen = failures_to_worsen
        self._passes_to_recover = passes_to_recover
        self._latest: deque[HealthStatus] = deque(maxlen=max(failures_to_worsen, passes_to_recover))
        self._silent_runs = 0
        self.status: HealthStatus | None = None
        """None while nothing is known."""

    def observe(self, result: HealthStatus | None) -> HealthStatus | None:
        """Take the result of a run, None where it found out nothing; the status after it."""
        self._silent_runs = self._silent_runs + 1 if result is None else 0
        if self._silent_runs >= self._failures_to_worsen:
            self._latest.clear()
            self.status = None
        if result is not None:
            self._latest.append(result)
            latest, self.status = list(self._latest), self.status or result
            if len(latest) >= self._failures_to_worsen:
                self.status = max(self.status, min(latest[-self._failures_to_worsen :]))
            if len(latest) >= self._passes_to_recover:
                self.status = min(self.status, max(latest[-self._passes_to_recover :]))
        return self.status


def uptime_ratio(transitions: Sequence[Transition], now: datetime, window: timedelta) -> float | None:
    """The share of the window in which a check was not unhealthy, 0 to 1; None when nothing is known.

    The transitions begin with the oldest. Where the window reaches back before it, it is cut to what is known.
    """
    begin, until = now - min(window, now - _EARLIEST), now
    up = known = timedelta(0)
    for transition in reversed(transitions):
        since = max(transition.at, begin)
        if since < until:
            known += (until - since) * (transition.after is not None)
            up += (until - since) * (transition.after in _UP)
            until = since
        if transition.at <= begin:
            break
    if known:
        return up / known
    # Its only transition is this very instant.
    latest = transitions[-1].after if transitions else None
    return None if latest is None else float(latest in _UP)


class RegisteredCheck:
    """A check, its run, its latest result and its status."""

    def __init__(self, name: str, function: CheckFunction, options: CheckOptions, now: float) -> None:
        """`now` is on the monotonic clock."""
        self.name = name
        self.function = function
        self.options = options
        self.on_loop = is_coroutine_function(function)
        self.transitions: deque[Transition] = deque(maxlen=MAX_TRANSITIONS)
        self.run: CheckRun | None = None
        """The latest run: it may go on although its result is there."""
        self.task: asyncio.Task[HealthCheck] | None = None
        """Waits for the run's result."""
        self._hysteresis = Hysteresis(options.failures_to_worsen, options.passes_to_recover)
        # One tuple, since other threads read it: the status, the result, when that came.
        self._latest: tuple[HealthStatus | None, HealthCheck, float] | None = None
        self.known_at = now
        """When something was last known; the registration or the monitor's start before that."""

    @property
    def status(self) -> HealthStatus | None:
        """The status after hysteresis; None while nothing is known."""
        return self._hysteresis.status

    def take(self, result: HealthCheck, ended: float, now: datetime) -> Transition | None:
        """Take a run's result, which came at `ended` on the monotonic clock; the transition it made, if it made one."""
        before = self.status
        after = self._hysteresis.observe(result.status if result.known else None)
        if after is not None:
            self.known_at = ended
        self._latest = (after, result, ended)
        if after is before:
            return None
        self.transitions.append(Transition(now, before, after, result.message))
        return self.transitions[-1]

    def report(self, now: float, *, stale_after: float, grace_seconds: float) -> CheckReport:
        """The check as it stands at `now` on the monotonic clock.

        Where nothing has been known for longer than the grace, a required check is unhealthy.
        """
        status, last, age, message = None, None, None, "not run yet"
        if self._latest is not None:
            status, last, ended = self._latest
            age, message = round(max(0.0, now - ended), 3), last.message
        stale = age is not None and age > stale_after
        blocking = self.run.blocking_seconds(now) if self.run is not None else None
        if blocking is not None:
            status, message = HealthStatus.UNHEALTHY, f"has blocked the event loop for {blocking:.0f} s"
        elif stale:
            status, message = HealthStatus.UNHEALTHY, f"no result for {age:.0f} s"
        elif status is None and (seconds := now - self.known_at) > grace_seconds:
            message = f"{message}; nothing has been known for {seconds:.0f} s"
            status = HealthStatus.UNHEALTHY if self.options.required else None
        shown, known = status or HealthStatus.DEGRADED, status is not None
        return CheckReport(self.name, shown, self.options.required, stale, age, message, last, known)
