"""An alert as notifications know it: from our own rules, or posted by a Prometheus.

The same values as Alertmanager's API has: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

from ordinaut_ext_observability.alerts.fingerprint import fingerprint
from ordinaut_ext_observability.alerts.states import AlertState


@dataclass(frozen=True)
class NotifiedAlert:
    """One alert, known by its labels. Times are milliseconds since 1970."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at_ms: int
    ends_at_ms: int | None = None
    """From then on it is resolved; None: it fires until something else is said."""
    updated_at_ms: int = 0
    generator_url: str = ""
    timed_out: bool = field(default=False, compare=False)
    """True where the end is only assumed, since whoever posted it named none."""

    @cached_property
    def fingerprint(self) -> str:
        """The number by which it is known, as Alertmanager computes it."""
        return fingerprint(self.labels)

    def is_resolved(self, now_ms: int) -> bool:
        """Tell whether it has ended."""
        return self.ends_at_ms is not None and self.ends_at_ms <= now_ms

    def merged_over(self, older: NotifiedAlert) -> NotifiedAlert:
        """The alert with what was known of it, where both overlap in time; else as it is.

        As Alertmanager merges: it began when the first of them did. The later end counts where both have ended, and
        where the older one names an end that is not assumed.
        """
        ends, older_ends = self.ends_at_ms or math.inf, older.ends_at_ms or math.inf
        if not (older.starts_at_ms < ends < older_ends or older.starts_at_ms < self.starts_at_ms < older_ends):
            return self
        if ends <= self.updated_at_ms:
            later = older_ends if older_ends <= self.updated_at_ms else ends
        else:
            later = ends if older.timed_out else older_ends
        ends = max(ends, later)
        starts = min(self.starts_at_ms, older.starts_at_ms)
        return replace(self, starts_at_ms=starts, ends_at_ms=None if ends == math.inf else int(ends))


def notified_alert(alert: AlertState) -> NotifiedAlert:
    """An alert of our own rules that fires or is resolved: it began when it began to fire, as Prometheus has it."""
    fired_at_ms = alert.active_at_ms if alert.fired_at_ms is None else alert.fired_at_ms
    ended_ms = alert.resolved_at_ms
    updated_ms = fired_at_ms if ended_ms is None else ended_ms
    return NotifiedAlert(dict(alert.labels), dict(alert.annotations), fired_at_ms, ended_ms, updated_ms)


def rfc3339(time_ms: int) -> str:
    """The time as in RFC 3339, `2026-11-23T22:19:04.123Z`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
