"""A status that does not flap: it follows results only when enough of them in a row agree."""

from __future__ import annotations

from collections import deque

from ordinaut_ext_observability.health.model import HealthStatus


class Hysteresis:
    """The status of one check, from the statuses of its runs.

    It becomes worse when the last `failures_to_worsen` runs were all worse, and then as bad as the best of them; it
    becomes better when the last `passes_to_recover` runs were all better, and then as good as the worst of them.
    Where nothing is known the first result counts at once; nothing is known any more when the last
    `failures_to_worsen` runs found out nothing.
    """

    def __init__(self, failures_to_worsen: int, passes_to_recover: int) -> None:
        """Both are numbers of runs, 1 or more."""
        self._failures_to_worsen = failures_to_worsen
        self._passes_to_recover = passes_to_recover
        self._latest: deque[HealthStatus] = deque(maxlen=max(failures_to_worsen, passes_to_recover))
        self._silent_runs = 0
        self.status: HealthStatus | None = None
        """None while nothing is known."""

    def observe(self, result: HealthStatus | None) -> HealthStatus | None:
        """Take the result of a run, None where it found out nothing; the status after it."""
        self._silent_runs = self._silent_runs + 1 if result is None else 0
        if result is None:
            if self._silent_runs >= self._failures_to_worsen:
                self._latest.clear()
                self.status = None
            return self.status
        self._latest.append(result)
        if self.status is None:
            self.status = result
            return result
        latest = list(self._latest)
        if len(latest) >= self._failures_to_worsen:
            least_bad = min(latest[-self._failures_to_worsen :], key=_severity)
            if _severity(least_bad) > _severity(self.status):
                self.status = least_bad
        if len(latest) >= self._passes_to_recover:
            least_good = max(latest[-self._passes_to_recover :], key=_severity)
            if _severity(least_good) < _severity(self.status):
                self.status = least_good
        return self.status


def _severity(status: HealthStatus) -> int:
    return status.severity
