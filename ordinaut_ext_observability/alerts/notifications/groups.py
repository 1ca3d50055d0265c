"""Alerts that are told together, and when each group is looked at: Alertmanager's dispatcher.

    first alert ─ group_wait ─► flush ─ group_interval ─► flush ─ group_interval ─► …

Nothing here reads a clock. Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.routing.routes import Route

CLEANING_MS: Final = 30_000
"""Time between two removals of empty groups: Alertmanager's own. Until then a group keeps its turn."""
MAX_GROUPS: Final = 10_000
"""Groups at one time; alerts of further ones are refused, and counted."""


@dataclass(slots=True)
class Group:
    """The alerts of one route that have the same values of its `group_by` labels."""

    route: Route
    labels: dict[str, str]
    key: str
    """Name of the group, as Alertmanager writes it: stable over restarts, the same on every replica."""
    due_ms: int
    flushed: bool = False
    alerts: dict[str, NotifiedAlert] = field(default_factory=dict)
    """By fingerprint."""

    def put(self, alert: NotifiedAlert, now_ms: int) -> None:
        """Take an alert; one that has waited elsewhere for long enough has the group flushed at once."""
        self.alerts[alert.fingerprint] = alert
        if not self.flushed and alert.starts_at_ms + self.route.group_wait_ms < now_ms:
            self.due_ms = min(self.due_ms, now_ms)

    def hurry(self, now_ms: int) -> None:
        """Have it looked at now, unless it waits for its first look."""
        if self.flushed:
            self.due_ms = min(self.due_ms, now_ms)

    def drop_resolved(self, told: Iterable[NotifiedAlert], now_ms: int) -> None:
        """Drop those of these alerts that are resolved and have not changed since."""
        for alert in told:
            if alert.is_resolved(now_ms) and self.alerts.get(alert.fingerprint) == alert:
                del self.alerts[alert.fingerprint]


class Groups:
    """All groups. Used on one thread."""

    def __init__(self, root: Route, now_ms: int) -> None:
        self._root = root
        self._groups: dict[str, Group] = {}
        self._cleaned_at_ms = now_ms
        self.refused = 0
        """Alerts that found no place."""

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._groups.values()))

    def get(self, key: str) -> Group | None:
        """The group of that key, if there is one."""
        return self._groups.get(key)

    def put(self, alert: NotifiedAlert, now_ms: int) -> None:
        """Put an alert into the group of every route that matches it."""
        for route in self._root.match(alert.labels):
            labels = route.group_labels(alert.labels)
            key = group_key(route, labels)
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= MAX_GROUPS:
                    self.refused += 1
                    continue
                due_ms = min(now_ms, alert.updated_at_ms) + route.group_wait_ms
                group = self._groups[key] = Group(route, labels, key, due_ms)
            group.put(alert, now_ms)

    def take_due(self, now_ms: int) -> list[Group]:
        """The groups to flush now, each due again after its interval."""
        if now_ms - self._cleaned_at_ms >= CLEANING_MS:
            self._cleaned_at_ms = now_ms
            self._groups = {key: group for key, group in self._groups.items() if group.alerts}
        due = [group for group in self._groups.values() if group.due_ms <= now_ms]
        for group in due:
            # From when it was due: whoever is late once is not later each time.
            next_ms, group.flushed = group.due_ms + group.route.group_interval_ms, True
            group.due_ms = next_ms if next_ms > now_ms else now_ms + group.route.group_interval_ms
        return due

    def shift(self, by_ms: int) -> None:
        """Move the times at which groups are due, as when the clock was set."""
        self._cleaned_at_ms += by_ms
        for group in self._groups.values():
            group.due_ms += by_ms

    def next_due_ms(self) -> int | None:
        """When the next group is to be flushed; None while there is none."""
        return min((group.due_ms for group in self._groups.values()), default=None)


def group_key(route: Route, labels: dict[str, str]) -> str:
    """The name of a group: `{}/{severity="critical"}:{alertname="QueueStalled"}`."""
    inner = ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{route.key}:{{{inner}}}"
