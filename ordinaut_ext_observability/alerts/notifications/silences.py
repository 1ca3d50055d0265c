"""Silences: alerts that match are not told for a time, as Alertmanager has it.

    pending ─ starts_at ─► active ─ ends_at ─► expired, remembered for five days

Maintenance is a silence whose `kind` says so; a snooze and an acknowledgement are those of a single alert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.routing.matchers import match_all
from ordinaut_ext_observability.promql.matchers import LabelMatcher

MAINTENANCE: Final = "Maintenance"
"""Name of the alert that announces a maintenance: none mutes it, none escalates it."""
RETENTION_MS: Final = 5 * 24 * 3_600_000
"""Time for which an expired silence is remembered: Alertmanager's own."""
_END_IS_NEWS_MS: Final = 15 * 60_000
"""Time in which any process that takes the lead still says that a maintenance has ended."""

Kind = Literal["silence", "snooze", "acknowledgement", "maintenance"]
SilenceState = Literal["pending", "active", "expired"]


@dataclass(frozen=True)
class Silence:
    """One silence. Times are milliseconds since 1970."""

    id: str
    """A UUID."""
    matchers: tuple[LabelMatcher, ...]
    """An alert is silenced where all of them match."""
    starts_at_ms: int
    ends_at_ms: int
    updated_at_ms: int
    created_by: str
    comment: str
    kind: Kind = "silence"
    annotations: tuple[tuple[str, str], ...] = ()

    def state(self, now_ms: int) -> SilenceState:
        """Where it is in its life."""
        if self.ends_at_ms <= now_ms:
            return "expired"
        return "pending" if now_ms < self.starts_at_ms else "active"

    def mutes(self, alert: NotifiedAlert, now_ms: int) -> bool:
        """Tell whether an alert is silenced now. One that fires again has to be acknowledged again."""
        if self.state(now_ms) != "active" or (
            self.kind == "acknowledgement" and alert.starts_at_ms > self.starts_at_ms
        ):
            return False
        is_announced = self.kind == "maintenance" and alert.labels.get("alertname") == MAINTENANCE
        return not is_announced and self.matches(alert.labels)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an alert of these labels is meant."""
        return match_all(self.matchers, labels)

    def can_become(self, new: Silence, now_ms: int) -> bool:
        """Tell whether the new one takes this one's place under its id, or is another silence.

        An active silence keeps its matchers and start, and cannot end in the past; a pending one starts later.
        """
        if self.matchers != new.matchers:
            return False
        if self.state(now_ms) == "active":
            return self.starts_at_ms == new.starts_at_ms and new.ends_at_ms >= now_ms
        return self.state(now_ms) == "pending" and new.starts_at_ms >= now_ms

    def expired(self, now_ms: int) -> Silence:
        """The silence, ended now."""
        return replace(self, starts_at_ms=min(self.starts_at_ms, now_ms), ends_at_ms=now_ms, updated_at_ms=now_ms)


def silenced_by(silences: Iterable[Silence], alert: NotifiedAlert, now_ms: int) -> list[str]:
    """The ids of the silences that mute an alert now."""
    return [silence.id for silence in silences if silence.mutes(alert, now_ms)]


def announcements(silences: Iterable[Silence], now_ms: int) -> list[NotifiedAlert]:
    """An alert for each maintenance, by which people are told that it begins and ends; none for one long over."""
    return [
        NotifiedAlert(
            {"alertname": MAINTENANCE, "severity": "warning", "maintenance": each.id},
            {"summary": f"Maintenance by {each.created_by}: {each.comment}"},
            *(each.starts_at_ms, each.ends_at_ms, each.updated_at_ms),
        )
        for each in silences
        if each.kind == "maintenance" and each.starts_at_ms <= now_ms < each.ends_at_ms + _END_IS_NEWS_MS
    ]
