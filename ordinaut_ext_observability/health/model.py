"""Results of checks, and what is made of them: a status that does not flap, a report, the share of time up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

CheckFunction = Callable[[], Any | Awaitable[Any]]
"""Returns None, a dict of details, a bool, a `HealthStatus` or an `Outcome`; raising means unhealthy."""

UNKNOWN = "unknown"
"""The status that reports show for a check that has found out nothing."""


class HealthStatus(Enum):
    """The state of a part of the system; the greater is the worse. A degraded part still does its work."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    def __init__(self, _value: object) -> None:
        self.severity = len(type(self).__members__)
        """0 for healthy, 1 for degraded, 2 for unhealthy."""

    def __lt__(self, other: HealthStatus) -> bool:
        return self.severity < other.severity


_UP = (HealthStatus.HEALTHY, HealthStatus.DEGRADED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of a check function that says more than that it passed."""

    status: HealthStatus
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    known: bool = True
    """False where the run found out nothing: reports say `unknown`, and the status counts as degraded."""


def unknown(message: str, details: dict[str, Any] | None = None) -> Outcome:
    """The outcome of a run that found out nothing."""
    return Outcome(HealthStatus.DEGRADED, message, details or {}, known=False)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An `Outcome`, its secrets masked, of one run of a check, which began at `checked_at`, in UTC."""

    name: str
    status: HealthStatus
    message: str
    duration_ms: float
    checked_at: datetime
    details: dict[str, Any] | None = None
    known: bool = True


class Transition(NamedTuple):
    """A change of a check's status, with the message of the run that made it. None: the status is not known."""

    at: datetime
    before: HealthStatus | None
    after: HealthStatus | None
    message: str


@dataclass(slots=True)
class Hysteresis:
    """A status that does not flap. The first result counts at once.

    It becomes worse when the last `failures_to_worsen` runs were all worse, and then as bad as the best of them; it
    becomes better when the last `passes_to_recover` runs were all better, and then as good as the worst of them.
    Nothing is known any more when the last `failures_to_worsen` runs found out nothing.
    """

    failures_to_worsen: int
    passes_to_recover: int
    status: HealthStatus | None = None
    """None while nothing is known."""
    _latest: list[HealthStatus] = field(default_factory=list)
    _silent_runs: int = 0

    def observe(self, result: HealthStatus | None) -> HealthStatus | None:
        """Take the result of a run, None where it found out nothing; the status after it."""
        failures, passes = self.failures_to_worsen, self.passes_to_recover
        self._silent_runs = self._silent_runs + 1 if result is None else 0
        if self._silent_runs >= failures:
            self._latest, self.status = [], None
        if result is not None:
            latest = self._latest = [*self._latest, result][-max(failures, passes) :]
            status = self.status or result
            if len(latest) >= failures:
                status = max(status, min(latest[-failures:]))
            if len(latest) >= passes:
                status = min(status, max(latest[-passes:]))
            self.status = status
        return self.status


def uptime_ratio(transitions: Sequence[Transition], now: datetime, window: timedelta) -> float | None:
    """The share of what is known of the window in which a check was not unhealthy, 0 to 1; None: nothing is known.

    The transitions begin with the oldest.
    """
    until, begin = now.timestamp(), now.timestamp() - window.total_seconds()
    up = known = 0.0
    for transition in reversed(transitions):
        since = max(transition.at.timestamp(), begin)
        if since < until:
            known += (until - since) * (transition.after is not None)
            up += (until - since) * (transition.after in _UP)
            until = since
    if known:
        return up / known
    latest = transitions[-1].after if transitions else None  # of this very instant
    return None if latest is None else float(latest in _UP)


class CheckReport(NamedTuple):
    """A check as it stands."""

    name: str
    status: HealthStatus
    """After hysteresis; unhealthy where the last result is too old to go by, degraded while nothing is known."""
    required: bool
    stale: bool
    age_seconds: float | None
    """Since the last run ended; None before the first."""
    message: str
    last: HealthCheck | None
    known: bool = True
    """False until the check found something out; a required check is unhealthy instead once the grace is over."""

    @property
    def shown_status(self) -> str:
        """The status as reports show it: `healthy`, `degraded`, `unhealthy` or `unknown`."""
        return self.status.value if self.known else UNKNOWN


class HealthReport(NamedTuple):
    """All checks as they stand."""

    status: HealthStatus
    """Unhealthy when a required check is; degraded when any other is not healthy, or not known."""
    checks: tuple[CheckReport, ...]
    not_configured: tuple[str, ...] = ()
    """Checks there would be if what they ask about were configured."""
