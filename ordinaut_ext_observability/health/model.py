"""Results of checks, and reports made of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

CheckFunction = Callable[[], Any | Awaitable[Any]]
"""Returns None, a dict of details, a bool, a `HealthStatus` or an `Outcome`; raising means unhealthy."""

UNKNOWN = "unknown"
"""The status that reports show for a check that has found out nothing."""


class HealthStatus(Enum):
    """The state of a part of the system; the greater is the worse. A degraded part still does its work."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    @property
    def severity(self) -> int:
        """0 for healthy, 1 for degraded, 2 for unhealthy."""
        return list(HealthStatus).index(self)

    def __lt__(self, other: HealthStatus) -> bool:
        return self.severity < other.severity


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of a check function that says more than that it passed."""

    status: HealthStatus
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    known: bool = True
    """False where the run found out nothing: reports say `unknown`, and the status counts as degraded."""


def unknown(message: str, details: dict[str, Any] | None = None) -> Outcome:
    """The outcome of a run that found out nothing. It counts as degraded where only three statuses are known."""
    return Outcome(HealthStatus.DEGRADED, message, details or {}, known=False)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The result of one run of a check, which began at `checked_at`, in UTC. Secrets in its texts are masked."""

    name: str
    status: HealthStatus
    message: str
    duration_ms: float
    checked_at: datetime
    details: dict[str, Any] | None = None
    known: bool = True
    """The same as in `Outcome`."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The way a check is run, and the weight of its result."""

    required: bool = True
    """True: the process is unhealthy when the check is; False: it is degraded."""
    timeout_seconds: float = 5.0
    """A run that takes longer is unhealthy; above 0 and at most 3600. The monitor's deadline cuts it."""
    failures_to_worsen: int = 2
    """Runs in a row with a worse result until the check's status follows; a check's first result counts at once."""
    passes_to_recover: int = 1
    """Runs in a row with a better result until the check's status follows."""
    only_trouble: bool = False
    """Reported only while it finds trouble, and else left out."""

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a number is not one that can be counted or waited for.
        """
        if not 0.0 < self.timeout_seconds <= 3600.0:
            raise ValueError(f"timeout_seconds must be above 0 and at most 3600, got {self.timeout_seconds!r}")
        for name in ("failures_to_worsen", "passes_to_recover"):
            value = getattr(self, name)
            if not (isinstance(value, int) and 1 <= value <= 100):
                raise ValueError(f"{name} must be a whole number from 1 to 100, got {value!r}")


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a check's status, with the message of the run that made it. None: the status is not known."""

    at: datetime
    before: HealthStatus | None
    after: HealthStatus | None
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
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


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks as they stand."""

    status: HealthStatus
    """Unhealthy when a required check is; degraded when any other is not healthy, or not known."""
    checks: tuple[CheckReport, ...]
    not_configured: tuple[str, ...] = ()
    """Checks there would be if what they ask about were configured."""

    @property
    def required_are_known(self) -> bool:
        """True when every required check has found something out."""
        return all(check.known for check in self.checks if check.required)
