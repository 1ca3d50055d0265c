"""The reasons why an alert is not told now: inhibited by another, silenced, or outside its route's hours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.groups import Group
from ordinaut_ext_observability.alerts.notifications.silences import Silence, silenced_by
from ordinaut_ext_observability.alerts.routing.matchers import match_all
from ordinaut_ext_observability.alerts.routing.routes import Route, Routing

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.schema import InhibitRule


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
        self._sources: list[dict[tuple[str, ...], list[NotifiedAlert]]] = []
        """Sources of each rule, by the labels that have to be equal."""

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
        return Muted(inhibited[:1], silenced_by(self.silences.values(), alert, now_ms), list(intervals))

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
