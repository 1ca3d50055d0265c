"""What a check's status was: its transitions, and how much of the time it was up."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta

from ordinaut_ext_observability.health.model import HealthStatus, Transition

_UP = (HealthStatus.HEALTHY, HealthStatus.DEGRADED)
_EARLIEST = datetime.min.replace(tzinfo=UTC)

MAX_TRANSITIONS = 100
"""Kept per check; of a check that flaps, the latest."""


class History:
    """The transitions of one check. Its owner serialises the calls."""

    def __init__(self) -> None:
        self._transitions: deque[Transition] = deque(maxlen=MAX_TRANSITIONS)

    def add(self, transition: Transition) -> None:
        self._transitions.append(transition)

    def transitions(self) -> list[Transition]:
        """The latest ones, the oldest first."""
        return list(self._transitions)

    def uptime_ratio(self, now: datetime, window: timedelta) -> float | None:
        """The share of the window in which the check was not unhealthy, 0 to 1; None when nothing is known.

        Where the window reaches back before the first transition kept, it is cut to what is known.
        """
        begin = now - min(window, now - _EARLIEST)
        up = known = timedelta(0)
        until = now
        for transition in reversed(tuple(self._transitions)):  # a copy: others may read while the loop appends
            since = max(transition.at, begin)
            if since < until:
                if transition.after is not None:
                    known += until - since
                if transition.after in _UP:
                    up += until - since
                until = since
            if transition.at <= begin:
                break
        if not known:
            # Its only transition is this very instant.
            latest = self._transitions[-1].after if self._transitions else None
            return None if latest is None else float(latest in _UP)
        return up / known
