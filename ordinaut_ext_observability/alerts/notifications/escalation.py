"""Escalation: what still fires and nobody acknowledged is told to further receivers, level by level.

    first notification ─ after ─► level 1 ─ after ─► level 2 …      reached levels stay until the group is resolved

All that is known of a group stands in what was told of it and in the outbox, so it outlives a restart. The delays count
anew when an acknowledgement or a silence ends. Nothing here reads a clock; times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import delivery_key
from ordinaut_ext_observability.alerts.notifications.groups import Group
from ordinaut_ext_observability.alerts.notifications.ledger import Ledger
from ordinaut_ext_observability.alerts.notifications.silences import MAINTENANCE
from ordinaut_ext_observability.alerts.routing.routes import Routing
from ordinaut_ext_observability.logs import event_types as events

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.schema import EscalationConfig, LevelConfig

DOWN_MS: Final = 120_000
"""A receiver that could not be told for longer is down: the next level stands in. A restart of one takes less."""


class Escalation:
    """Finds the receivers that a group has escalated to."""

    def __init__(
        self, policies: Sequence[EscalationConfig], routing: Routing, ledger: Ledger, event: events.LogEvent
    ) -> None:
        self.policies = policies
        self._routing = routing
        self._ledger = ledger
        self._event = event
        self._names = list(dict.fromkeys(level.receiver for policy in policies for level in policy.levels))
        self.refused: set[str] = set()
        """Keys of deliveries that their receiver refused for good."""

    def receivers(
        self, group: Group, firing: Sequence[NotifiedAlert], now_ms: int, *, anew: bool
    ) -> dict[str, tuple[int, ...]]:
        """The further receivers of a group, with their repeat intervals; it is due again when the next level is.

        `firing` are its alerts that fire and are not muted; `anew` where some of them were muted until now.
        """
        last = group.route.receiver
        if not firing:  # the next incident is tried anew
            self.refused.difference_update(*(self._keys(group, name) for name in (last, *self._names)))
        began = {name: at for name in (last, *self._names) if (at := self._began_ms(group, name)) is not None}
        reached = {name: group.route.repeat_intervals_ms for name in self._names if name in began}
        since_ms = now_ms if anew else min(began.values(), default=now_ms)
        for level in self._levels(firing):
            if level.receiver not in reached:
                is_down = self._is_down(group, last, now_ms)
                due_ms = now_ms if is_down else since_ms + level.after
                group.due_ms = min(group.due_ms, due_ms) if due_ms > now_ms else group.due_ms
                if due_ms > now_ms or not self._is_open(level, now_ms):
                    continue
                why = f"{last} cannot be told" if is_down else "it still fires, and nobody acknowledged it"
                self._event(events.ALERTS_ESCALATED, group=group.key, receiver=level.receiver, reason=why)
            last = level.receiver
            reached[last] = group.route.repeat_intervals_ms if level.repeat is None else (level.repeat,)
        return reached

    def _levels(self, firing: Sequence[NotifiedAlert]) -> Sequence[LevelConfig]:
        labels = [alert.labels for alert in firing if alert.labels.get("alertname") != MAINTENANCE]
        return next((each.levels for each in self.policies if any(map(each.matches, labels))), ())

    def _is_open(self, level: LevelConfig, now_ms: int) -> bool:
        hours = [self._routing.time_intervals[name] for name in level.active_time_intervals]
        return not hours or any(each.contains(now_ms) for each in hours)

    def _keys(self, group: Group, receiver: str) -> list[str]:
        known = self._routing.receivers.get(receiver)
        return [delivery_key(group.key, each.key) for each in known.integrations] if known is not None else []

    def _waiting_ms(self, keys: Iterable[str]) -> list[int]:
        """The times since when something is to be sent under these keys."""
        return [self._ledger.outbox[key].created_ms for key in keys if key in self._ledger.outbox]

    def _began_ms(self, group: Group, receiver: str) -> int | None:
        """The time since when a receiver knows of what fires now, or is to be told; None: it does not."""
        keys = self._keys(group, receiver)
        told = [self._ledger.told[key] for key in keys if key in self._ledger.told]
        return min([*(each.since_ms for each in told if each.firing), *self._waiting_ms(keys)], default=None)

    def _is_down(self, group: Group, receiver: str, now_ms: int) -> bool:
        keys = self._keys(group, receiver)
        return min(self._waiting_ms(keys), default=now_ms) + DOWN_MS <= now_ms or not self.refused.isdisjoint(keys)
