"""The notifier: takes alerts, decides who is told of what and why, and knows what was told.

It reads no clock, sends nothing and writes nothing: whoever runs it (`runtime/notifications.py`) sends the deliveries
that are due, and keeps the records that changed in the installation's store::

    notifier.take([alert], now_ms)
    notifier.flush_due(now_ms)
    records = notifier.ledger.take_changed()       # written in one call
    for delivery in notifier.ledger.due(now_ms):
        ...                                        # sent
        notifier.note_delivered(delivery, now_ms)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import (
    Delivery,
    DeliveryError,
    Told,
    delivery_key,
    reason_to_tell,
    repeat_after_ms,
)
from ordinaut_ext_observability.alerts.notifications.escalation import DOWN_MS, Escalation
from ordinaut_ext_observability.alerts.notifications.groups import Group, Groups
from ordinaut_ext_observability.alerts.notifications.ledger import Ledger
from ordinaut_ext_observability.alerts.notifications.silences import Muted, Mutes, Silence
from ordinaut_ext_observability.alerts.routing.routes import Integration, Routing
from ordinaut_ext_observability.logs import event_types as events

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.schema import EscalationConfig

_FORGET_MS: Final = 15 * 60_000
"""Time for which a resolved alert is known: as long as Prometheus repeats it."""
_SET_BACK_MS: Final = 2_000
"""A clock that is earlier by more was set back: what is due is moved with it, or nobody would be told meanwhile."""
MAX_ALERTS: Final = 10_000
"""Alerts at one time; further ones are refused, and counted."""


class Notifier:
    """The alerts, groups and notifications of an installation, at the process that leads. Used on one thread."""

    def __init__(
        self,
        routing: Routing,
        now_ms: int,
        policies: Sequence[EscalationConfig] = (),
        event: events.LogEvent = lambda *_, **__: None,
        *,
        strict: bool = False,
    ) -> None:
        """`strict`: as Alertmanager does, a mute also holds back resolves, and its end tells nobody."""
        self.routing = routing
        self.mutes = Mutes(routing)
        self.alerts: dict[str, NotifiedAlert] = {}
        """By fingerprint, with those resolved a short time ago."""
        self.groups = Groups(routing.route, now_ms)
        self.ledger = Ledger()
        """Facts: what was told, and what is to be sent."""
        self.escalation = Escalation(policies, routing, self.ledger, event)
        self._strict = strict
        self._taken: dict[str, NotifiedAlert] = {}
        """The alerts as they were taken last: one that is the same again is no news."""
        self._unconfirmed: set[str] = set()
        """Restored alerts of which nobody has said since that they fire, and those of our rules that are gone."""
        self._now_ms = now_ms
        self._own: set[str] = set()
        """The alerts of our rules."""

    def restore(self, tables: Mapping[str, Mapping[str, bytes]], now_ms: int) -> int:
        """Go on from what is kept in the store, where it is not known better; the number of unreadable records."""
        alerts, unreadable = self.ledger.restore(tables)
        restored = [alert for alert in alerts if alert.fingerprint not in self.alerts]
        self.take(sorted(restored, key=lambda alert: alert.updated_at_ms), now_ms)
        self._unconfirmed |= {alert.fingerprint for alert in restored}
        return unreadable

    def take_own(self, alerts: Sequence[NotifiedAlert], now_ms: int) -> None:
        """Take all alerts that our rules have; one that is missing, since its rule is gone, is to be ended."""
        before, self._own = self._own, {alert.fingerprint for alert in alerts}
        self._unconfirmed |= before - self._own
        self.take(alerts, now_ms)

    def take(self, alerts: Iterable[NotifiedAlert], now_ms: int) -> None:
        """Take alerts that are new or have changed; the others change nothing."""
        for taken in alerts:
            self._unconfirmed.discard(taken.fingerprint)
            if taken == self._taken.get(taken.fingerprint):
                continue
            known = self.alerts.get(taken.fingerprint)
            if known is None and len(self.alerts) >= MAX_ALERTS:
                self.groups.refused += 1
                continue
            self._taken[taken.fingerprint] = taken
            alert = self.alerts[taken.fingerprint] = taken if known is None else taken.merged_over(known)
            self.groups.put(alert, now_ms)

    def resolve_vanished(self, now_ms: int) -> None:
        """End alerts that somebody was told of and nobody knows any more: the rule is gone, or the restart took long.

        Call it when the rules were evaluated over enough history.
        """
        told = {name: alert for each in self.ledger.told.values() for name, alert in each.firing.items()}
        confirmed = self.alerts.keys() - self._unconfirmed
        vanished = [alert for name, alert in (told | self.alerts).items() if name not in confirmed]
        firing = [alert for alert in vanished if not alert.is_resolved(now_ms)]
        self.take([replace(each, ends_at_ms=now_ms, updated_at_ms=now_ms, timed_out=False) for each in firing], now_ms)
        self._unconfirmed.clear()

    def take_silences(self, silences: dict[str, Silence], now_ms: int) -> None:
        """Take the silences as they are; where one that Alertmanager does not have begins or ends, look at once."""
        changed = self.mutes.take_silences(silences, now_ms)
        for group in self.groups if changed else ():
            if any(silence.matches(alert.labels) for silence in changed for alert in group.alerts.values()):
                group.hurry(now_ms)

    def flush_due(self, now_ms: int) -> None:
        """Look at the groups whose turn it is, and queue what has to be told."""
        if (by_ms := self._now_ms - now_ms) > _SET_BACK_MS:
            self.groups.shift(-by_ms)
            self.ledger.shift(-by_ms)
        self._now_ms = now_ms
        for fingerprint, alert in list(self.alerts.items()):
            if alert.ends_at_ms is not None and alert.ends_at_ms + _FORGET_MS < now_ms:
                del self.alerts[fingerprint], self._taken[fingerprint]
        self.ledger.forget(now_ms)
        self.mutes.begin(self.alerts.values(), now_ms)
        for group in self.groups.take_due(now_ms):
            self._flush(group, now_ms)

    def note_delivered(self, delivery: Delivery, now_ms: int) -> None:
        """It arrived: note what its receiver knows now."""
        self.ledger.under_way.discard(delivery.key)
        self.escalation.refused.discard(delivery.key)
        self.ledger.note_told(delivery, self._muted_by_now(delivery))
        self.ledger.remove(delivery, "sent", now_ms)
        group = self.groups.get(delivery.group_key)
        if group is not None and all(other.group_key != group.key for other in self.ledger.outbox.values()):
            group.drop_resolved(delivery.alerts, delivery.now_ms)

    def note_failed(self, delivery: Delivery, error: DeliveryError, now_ms: int) -> None:
        """It did not arrive: try it again later, unless the same would be refused again."""
        self.ledger.under_way.discard(delivery.key)
        delivery.note_failure(error, now_ms)
        if error.permanent:
            self.ledger.remove(delivery, "failed", now_ms)
            self.escalation.refused.add(delivery.key)
        else:
            self.ledger.put(delivery)
        group = self.groups.get(delivery.group_key)
        is_down = error.permanent or delivery.created_ms + DOWN_MS <= now_ms
        if group is not None and self.escalation.policies and is_down:
            group.hurry(now_ms)

    def _flush(self, group: Group, now_ms: int) -> None:
        muted = self.mutes.of_group(group, now_ms)
        firing = [
            each for each in group.alerts.values() if not each.is_resolved(now_ms) and each.fingerprint not in muted
        ]
        anew = any(alert.fingerprint in group.unmuted for alert in firing)
        further = self.escalation.receivers(group, firing, now_ms, anew=anew)
        pending = False
        for name, repeats_ms in ({group.route.receiver: group.route.repeat_intervals_ms} | further).items():
            receiver = self.routing.receivers.get(name)
            for integration in receiver.integrations if receiver is not None else ():
                pending |= self._decide(group, name, integration, repeats_ms, muted, now_ms)
        if not pending:
            group.drop_resolved(list(group.alerts.values()), now_ms)

    def _decide(
        self,
        group: Group,
        receiver: str,
        integration: Integration,
        repeats_ms: tuple[int, ...],
        muted: Mapping[str, Muted],
        now_ms: int,
    ) -> bool:
        """Queue a delivery where there is a reason; True where one waits to be sent."""
        key = delivery_key(group.key, integration.key)
        told, waiting = self.ledger.told.get(key), self.ledger.outbox.get(key)
        if key in self.ledger.under_way:
            return True
        shown = [alert for alert in group.alerts.values() if self._is_shown(alert, muted, told, now_ms)]
        firing = [alert.fingerprint for alert in shown if not alert.is_resolved(now_ms)]
        resolved = [alert.fingerprint for alert in shown if alert.is_resolved(now_ms)]
        reason = reason_to_tell(
            told,
            firing,
            resolved,
            send_resolved=integration.send_resolved,
            repeat_after_ms=repeat_after_ms(told, repeats_ms),
            now_ms=now_ms,
            unmuted=() if self._strict else group.unmuted,
            first="first" if receiver == group.route.receiver else "escalated",
        )
        facts = {}
        if not shown and integration.kind == "pagerduty" and (acknowledged := self._acknowledged(group, told, muted)):
            reason, (facts["acknowledged_by"], shown) = "acknowledged", acknowledged
        if reason is None and waiting is not None and integration.kind == "pagerduty" and resolved and not firing:
            reason = "resolved"  # it may have been taken and its answer lost: no incident is left open
        if reason is None or not shown:
            if waiting is not None:
                self.ledger.remove(waiting, "dropped", now_ms)
            return False
        new = Delivery(group.key, group.labels, receiver, integration.key, reason, shown, now_ms, now_ms)
        new.next_try_ms = now_ms
        delivery = replace(waiting or new, reason=reason, alerts=shown, now_ms=now_ms, facts=facts)
        if not integration.send_resolved:
            if not delivery.firing:
                self.ledger.note_told(delivery, self._muted_by_now(delivery))
                return False
            delivery.alerts = delivery.firing
        self.ledger.put(delivery)
        if waiting is None:
            self.ledger.write_journal(delivery, "queued", now_ms)
        return True

    def _acknowledged(
        self, group: Group, told: Told | None, muted: Mapping[str, Muted]
    ) -> tuple[str, list[NotifiedAlert]] | None:
        """Who acknowledged all that was told to fire, and those alerts; None where that is no news."""
        firing = told.firing if told is not None and not told.acknowledged else {}
        names = [self.mutes.acknowledged_by(muted.get(fingerprint)) for fingerprint in firing]
        return (names[0], [group.alerts[each] for each in firing]) if names and all(names) else None

    def _muted_by_now(self, delivery: Delivery) -> dict[str, NotifiedAlert]:
        """Alerts that were told before, are muted by now and so no part of the message, but still fire."""
        before = self.ledger.told.get(delivery.key)
        if before is None or self._strict:
            return {}
        left = before.firing.keys() & self.alerts.keys() - {alert.fingerprint for alert in delivery.alerts}
        return {each: before.firing[each] for each in left if not self.alerts[each].is_resolved(delivery.now_ms)}

    def _is_shown(self, alert: NotifiedAlert, muted: Mapping[str, Muted], told: Told | None, now_ms: int) -> bool:
        if alert.fingerprint not in muted:
            return True
        # Whoever was paged is told that it is over, muted or not: an incident is not left open for ever.
        was_told = told is not None and alert.fingerprint in told.firing
        return not self._strict and was_told and alert.is_resolved(now_ms)
