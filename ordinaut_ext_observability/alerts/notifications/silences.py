"""The reasons why an alert is not told now: silenced, inhibited by another, or outside its route's hours.

Silences are Alertmanager's:

    pending ─ starts_at ─► active ─ ends_at ─► expired, remembered for five days

Maintenance is a silence whose `kind` says so; a snooze and an acknowledgement are those of a single alert.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.groups import Group
from ordinaut_ext_observability.alerts.routing.matchers import match_all
from ordinaut_ext_observability.alerts.routing.routes import Route, Routing
from ordinaut_ext_observability.promql.matchers import LabelMatcher

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.schema import InhibitRule

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


class Muted(NamedTuple):
    """The reasons why one alert is not told."""

    inhibited_by: list[str]
    """Fingerprints of alerts."""
    silenced_by: list[str]
    """Ids of silences."""
    muted_by: list[str]
    """Names of time intervals."""

    def __bool__(self) -> bool:
        return any(self)


class Mutes:
    """Inhibition, silences and time intervals, as they are now."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing
        self.silences: dict[str, Silence] = {}
        """By id. Whoever runs the notifier reads them from the store, where any process writes."""
        self._in_effect: dict[str, Silence] = {}
        """The acknowledgements, snoozes and maintenances that were active at the last look."""
        self._sources: list[dict[tuple[str, ...], list[NotifiedAlert]]] = []
        """Sources of each rule, by the labels that have to be equal."""

    def take_silences(self, silences: dict[str, Silence], now_ms: int) -> list[Silence]:
        """Take the silences as they are; those of other kinds than Alertmanager's that began or ended since."""
        in_effect = {
            each.id: each for each in silences.values() if each.kind != "silence" and each.state(now_ms) == "active"
        }
        before, self._in_effect, self.silences = self._in_effect, in_effect, silences
        return [(before | in_effect)[name] for name in before.keys() ^ in_effect.keys()]

    def begin(self, alerts: Iterable[NotifiedAlert], now_ms: int) -> None:
        """Note which alerts fire and may inhibit others."""
        firing = [alert for alert in alerts if not alert.is_resolved(now_ms)]
        self._sources = [defaultdict(list) for _ in self._routing.inhibit_rules]
        for rule, sources in zip(self._routing.inhibit_rules, self._sources, strict=True):
            for alert in firing:
                if match_all(rule.source, alert.labels):
                    sources[_equal(rule, alert.labels)].append(alert)

    def of_alert(self, alert: NotifiedAlert, now_ms: int, intervals: Iterable[str] = ()) -> Muted:
        """The reasons that hold for an alert."""
        inhibited = [
            source
            for rule, sources in zip(self._routing.inhibit_rules, self._sources, strict=False)
            if (source := _inhibitor(rule, sources, alert.labels)) is not None
        ]
        silenced = [silence.id for silence in self.silences.values() if silence.mutes(alert, now_ms)]
        return Muted(inhibited[:1], silenced, list(intervals))

    def of_group(self, group: Group, now_ms: int) -> dict[str, Muted]:
        """The alerts of a group that are not told now, by fingerprint."""
        intervals = self.muting_intervals(group.route, now_ms)
        muted = {
            fingerprint: found
            for fingerprint, alert in group.alerts.items()
            if (found := self.of_alert(alert, now_ms, intervals))
        }
        group.unmuted, group.muted = group.muted - muted.keys(), set(muted)
        return muted

    def acknowledged_by(self, muted: Muted | None) -> str:
        """The name of who acknowledged an alert that is muted so; empty where nobody did."""
        found = [self.silences[each] for each in (muted.silenced_by if muted else ()) if each in self.silences]
        return next((each.created_by for each in found if each.kind == "acknowledgement"), "")

    def muting_intervals(self, route: Route, now_ms: int) -> list[str]:
        """The time intervals that mute a route now: one that mutes, or all those in which alone it is active."""
        intervals = self._routing.time_intervals
        muting = [name for name in route.mute_time_intervals if intervals[name].contains(now_ms)]
        active = route.active_time_intervals
        if not muting and active and not any(intervals[name].contains(now_ms) for name in active):
            muting = list(active)
        return muting


def _equal(rule: InhibitRule, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in rule.equal)


def _inhibitor(
    rule: InhibitRule, sources: Mapping[tuple[str, ...], list[NotifiedAlert]], labels: Mapping[str, str]
) -> str | None:
    """The fingerprint of a source that inhibits an alert of these labels."""
    if not match_all(rule.target, labels):
        return None
    # An alert that is on both sides does not inhibit what is on both sides, itself included.
    is_both = match_all(rule.source, labels)
    found = (
        each for each in sources.get(_equal(rule, labels), ()) if not (is_both and match_all(rule.target, each.labels))
    )
    return next((each.fingerprint for each in found), None)
