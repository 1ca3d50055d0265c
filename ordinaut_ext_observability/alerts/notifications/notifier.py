"""The notifier: takes alerts, decides who is told of what and why, and knows what was told.

It reads no clock, sends nothing and writes nothing: whoever runs it (`runtime/notifications.py`) sends the deliveries
that are due, and keeps the records that changed in the installation's store::

    notifier.take([alert], now_ms)
    notifier.flush_due(now_ms)
    records = notifier.take_changed()              # written in one call
    for delivery in notifier.due_deliveries(now_ms):
        ...                                        # sent
        notifier.note_delivered(delivery, now_ms)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, notified_alert
from ordinaut_ext_observability.alerts.notifications.dedup import (
    Told,
    reason_to_tell,
    repeat_after_ms,
    told_from_json,
)
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError, delivery_key
from ordinaut_ext_observability.alerts.notifications.escalation import DOWN_MS, Escalation
from ordinaut_ext_observability.alerts.notifications.groups import Group, Groups
from ordinaut_ext_observability.alerts.notifications.mutes import Muted, Mutes
from ordinaut_ext_observability.alerts.notifications.silences import Silence
from ordinaut_ext_observability.alerts.routing.routes import Integration, Routing
from ordinaut_ext_observability.alerts.routing.schema import EscalationConfig
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.cluster.base import Record
from ordinaut_ext_observability.logs import event_types as events

OUTBOX: Final = "outbox"
TOLD: Final = "told"
JOURNAL: Final = "journal"
CHANGES: Final = "alert_changes"
TABLES: Final = (OUTBOX, TOLD, CHANGES)
"""The tables that a notifier is restored from."""

JOURNAL_SECONDS: Final = 30 * 86_400.0
_FORGET_MS: Final = 15 * 60_000
"""Time for which a resolved alert is known: as long as Prometheus repeats it."""
MAX_ALERTS: Final = 10_000
"""Alerts at one time; further ones are refused, and counted."""

MAX_UNSAVED: Final = 10_000
"""Records that wait for a store that does not answer: an hour of many notifications."""


class Notifier:
    """The alerts, groups and notifications of an installation, at the process that leads. Used on one thread."""

    def __init__(
        self,
        routing: Routing,
        mutes: Mutes,
        now_ms: int,
        policies: Sequence[EscalationConfig] = (),
        event: events.LogEvent = lambda *_, **__: None,
        *,
        strict: bool = False,
    ) -> None:
        """`strict`: as Alertmanager does, a mute also holds back resolves, and its end tells nobody."""
        self.routing = routing
        self.mutes = mutes
        self.alerts: dict[str, NotifiedAlert] = {}
        """By fingerprint, with those resolved a short time ago."""
        self.groups = Groups(routing.route, now_ms)
        self.told: dict[str, Told] = {}
        self.outbox: dict[str, Delivery] = {}
        self.refused = 0
        """Alerts that were refused for their number."""
        self.escalation = Escalation(policies, routing, self.told, self.outbox, event)
        self._strict = strict
        self._integrations = {
            each.key: each for receiver in routing.receivers.values() for each in receiver.integrations
        }
        self._in_effect: dict[str, Silence] = {}
        """Those acknowledgements, snoozes and maintenances at the last look."""
        self._changed: dict[tuple[str, str], Record] = {}
        self._taken: dict[str, NotifiedAlert] = {}
        """The alerts as they were taken last: one that is the same again is no news."""
        self._unconfirmed: set[str] = set()
        """Restored alerts of which nobody has said since that they fire."""

    def restore(self, tables: Mapping[str, Mapping[str, bytes]], now_ms: int) -> int:
        """Go on from what is kept in the store, where it is not known better; the number of unreadable records."""
        unreadable = 0
        kinds: tuple[tuple[str, dict[str, Any], Callable[[Any], Any]], ...] = (
            (TOLD, self.told, told_from_json),
            (OUTBOX, self.outbox, Delivery.from_json),
        )
        for table, into, read in kinds:
            for key, content in tables.get(table, {}).items():
                if key in into or (table, key) in self._changed:
                    continue
                try:
                    into[key] = read(orjson.loads(content))
                except (ValueError, TypeError, KeyError):
                    unreadable += 1
        restored = [alert for delivery in self.outbox.values() for alert in delivery.alerts]
        for content in tables.get(CHANGES, {}).values():
            try:
                restored.append(NotifiedAlert.from_json(orjson.loads(content)))
            except (ValueError, TypeError, KeyError):
                unreadable += 1
        restored = [alert for alert in restored if alert.fingerprint not in self.alerts]
        self.take(sorted(restored, key=lambda alert: alert.updated_at_ms), now_ms)
        self._unconfirmed |= {alert.fingerprint for alert in restored}
        return unreadable

    def take(self, alerts: Iterable[NotifiedAlert], now_ms: int) -> None:
        """Take alerts that are new or have changed; the others change nothing."""
        for taken in alerts:
            self._unconfirmed.discard(taken.fingerprint)
            if taken == self._taken.get(taken.fingerprint):
                continue
            known = self.alerts.get(taken.fingerprint)
            if known is None and len(self.alerts) >= MAX_ALERTS:
                self.refused += 1
                continue
            self._taken[taken.fingerprint] = taken
            alert = self.alerts[taken.fingerprint] = taken if known is None else taken.merged_over(known)
            self.groups.put(alert, now_ms)

    def resolve_vanished(self, now_ms: int) -> None:
        """End alerts that somebody was told of and nobody knows any more: the rule is gone, or the restart took long.

        Call it once the rules were evaluated after a start.
        """
        vanished = {fingerprint: self.alerts[fingerprint] for fingerprint in self._unconfirmed & self.alerts.keys()}
        for told in self.told.values():
            for fingerprint, kept in told.firing.items():
                if fingerprint not in self.alerts:
                    vanished[fingerprint] = NotifiedAlert.from_json(kept)
        firing = [alert for alert in vanished.values() if not alert.is_resolved(now_ms)]
        self.take([replace(each, ends_at_ms=now_ms, updated_at_ms=now_ms, timed_out=False) for each in firing], now_ms)
        self._unconfirmed.clear()

    def take_silences(self, silences: dict[str, Silence], now_ms: int) -> None:
        """Take the silences as they are; where one that Alertmanager does not have begins or ends, look at once."""
        in_effect = {
            each.id: each for each in silences.values() if each.kind != "silence" and each.state(now_ms) == "active"
        }
        changed = [(self._in_effect | in_effect)[name] for name in self._in_effect.keys() ^ in_effect.keys()]
        self.mutes.silences, self._in_effect = silences, in_effect
        for group in self.groups if changed else ():
            if any(silence.matches(alert.labels) for silence in changed for alert in group.alerts.values()):
                group.hurry(now_ms)

    def flush_due(self, now_ms: int) -> None:
        """Look at the groups whose turn it is, and queue what has to be told."""
        for fingerprint, alert in list(self.alerts.items()):
            if alert.ends_at_ms is not None and alert.ends_at_ms + _FORGET_MS < now_ms:
                del self.alerts[fingerprint], self._taken[fingerprint]
        since_ms = now_ms - JOURNAL_SECONDS * 1000
        for key in [key for key, told in self.told.items() if not told.firing and told.at_ms < since_ms]:
            del self.told[key]
        self.mutes.begin(self.alerts.values(), now_ms)
        for group in self.groups.take_due(now_ms):
            self._flush(group, now_ms)

    def next_due_ms(self) -> int | None:
        """When the next group is to be looked at, or the next delivery to be tried."""
        tries = [delivery.next_try_ms for delivery in self.outbox.values()]
        return min((due for due in (self.groups.next_due_ms(), *tries) if due is not None), default=None)

    def due_deliveries(self, now_ms: int) -> list[Delivery]:
        """The deliveries to try now, the oldest first."""
        due = [delivery for delivery in self.outbox.values() if delivery.next_try_ms <= now_ms]
        return sorted(due, key=lambda delivery: delivery.created_ms)

    def integration(self, key: str) -> Integration | None:
        """The integration of that key; None for one that is no longer configured."""
        return self._integrations.get(key)

    def note_delivered(self, delivery: Delivery, now_ms: int) -> None:
        """It arrived: note what its receiver knows now."""
        delivery.under_way = False
        self.escalation.refused.discard(delivery.key)
        self._tell(delivery)
        self._remove(delivery)
        self._write_journal(delivery, "sent", now_ms)
        group = self.groups.get(delivery.group_key)
        if group is not None and all(other.group_key != group.key for other in self.outbox.values()):
            group.drop_resolved(delivery.alerts, delivery.now_ms)

    def note_failed(self, delivery: Delivery, error: DeliveryError, now_ms: int) -> None:
        """It did not arrive: try it again later, unless the same would be refused again."""
        delivery.under_way = False
        delivery.note_failure(error, now_ms)
        if error.permanent:
            self._remove(delivery)
            self._write_journal(delivery, "failed", now_ms)
            self.escalation.refused.add(delivery.key)
        else:
            self._keep(OUTBOX, delivery.key, delivery.as_json())
        group = self.groups.get(delivery.group_key)
        if (
            group is not None
            and self.escalation.policies
            and (error.permanent or delivery.created_ms + DOWN_MS <= now_ms)
        ):
            group.hurry(now_ms)

    def take_changed(self) -> list[Record]:
        """The records that changed since; what could not be written is given back by `keep_changed`."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def keep_changed(self, records: Iterable[Record]) -> None:
        """Have these written with the next, where nothing newer is to be written in their place.

        Of too many those of the journal go first: what is to be sent, and what was, is needed to send right.
        """
        for record in records:
            self._changed.setdefault((record.table, record.key), record)
        if len(self._changed) > MAX_UNSAVED:
            self._changed = {name: record for name, record in self._changed.items() if name[0] != JOURNAL}

    @property
    def unsaved(self) -> int:
        """Records that are to be written."""
        return len(self._changed)

    def _flush(self, group: Group, now_ms: int) -> None:
        muted = self.mutes.of_group(group, now_ms)
        firing = [
            each for each in group.alerts.values() if not each.is_resolved(now_ms) and each.fingerprint not in muted
        ]
        anew = any(alert.fingerprint in self.mutes.ended(group) for alert in firing)
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
        told, waiting = self.told.get(key), self.outbox.get(key)
        if waiting is not None and waiting.under_way:
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
            unmuted=() if self._strict else self.mutes.ended(group),
            first="first" if receiver == group.route.receiver else "escalated",
        )
        facts = {}
        if not shown and integration.kind == "pagerduty" and (acknowledged := self._acknowledged(group, told, muted)):
            reason, (facts["acknowledged_by"], shown) = "acknowledged", acknowledged
        if reason is None or not shown:
            if waiting is not None:
                self._remove(waiting)
                self._write_journal(waiting, "dropped", now_ms)
            return False
        created = waiting.created_ms if waiting is not None else now_ms
        delivery = Delivery(group.key, group.labels, receiver, integration.key, reason, shown, created, now_ms)
        delivery.next_try_ms, delivery.facts = now_ms, facts
        if not integration.send_resolved:
            if not delivery.firing:
                self._tell(delivery)
                return False
            delivery.alerts = delivery.firing
        if waiting is not None:
            delivery.attempts, delivery.next_try_ms, delivery.error = (
                waiting.attempts,
                waiting.next_try_ms,
                waiting.error,
            )
        self.outbox[key] = delivery
        self._keep(OUTBOX, key, delivery.as_json())
        if waiting is None:
            self._write_journal(delivery, "queued", now_ms)
        return True

    def _acknowledged(
        self, group: Group, told: Told | None, muted: Mapping[str, Muted]
    ) -> tuple[str, list[NotifiedAlert]] | None:
        """Who acknowledged all that was told to fire, and those alerts; None where that is no news."""
        firing = told.firing if told is not None and not told.acknowledged else {}
        names = [self.mutes.acknowledged_by(muted.get(fingerprint)) for fingerprint in firing]
        return (names[0], [group.alerts[each] for each in firing]) if names and all(names) else None

    def _is_shown(self, alert: NotifiedAlert, muted: Mapping[str, Muted], told: Told | None, now_ms: int) -> bool:
        if alert.fingerprint not in muted:
            return True
        # Whoever was paged is told that it is over, muted or not: an incident is not left open for ever.
        was_told = told is not None and alert.fingerprint in told.firing
        return not self._strict and was_told and alert.is_resolved(now_ms)

    def _tell(self, delivery: Delivery) -> None:
        before = self.told.get(delivery.key)
        firing = {alert.fingerprint: alert.as_json() for alert in delivery.firing}
        resolved = [alert.fingerprint for alert in delivery.resolved]
        if before is not None and not self._strict:  # what is muted by now is no part of the message, but still fires
            muted = before.firing.keys() & self.alerts.keys() - firing.keys() - set(resolved)
            firing |= {
                each: before.firing[each] for each in muted if not self.alerts[each].is_resolved(delivery.now_ms)
            }
        repeats = (before.repeats + 1 if before else 0) if delivery.reason == "repeat" else 0
        goes_on = before is not None and before.firing and delivery.reason != "silence_ended"
        since_ms = before.since_ms if before is not None and goes_on else delivery.created_ms
        is_acknowledged = delivery.reason == "acknowledged"
        told = Told(delivery.now_ms, firing, resolved, repeats, since_ms, acknowledged=is_acknowledged)
        self.told[delivery.key] = told
        if firing:
            self._keep(TOLD, delivery.key, told.as_json())
        else:
            # Over: what is kept of it ends by itself, while what still fires is kept for as long as it does.
            self._keep(TOLD, delivery.key, told.as_json(), JOURNAL_SECONDS)

    def _remove(self, delivery: Delivery) -> None:
        self.outbox.pop(delivery.key, None)
        self._changed[OUTBOX, delivery.key] = Record(OUTBOX, delivery.key, None)

    def _write_journal(self, delivery: Delivery, outcome: str, now_ms: int) -> None:
        self._keep(JOURNAL, delivery.id, journal_entry(delivery, outcome, now_ms), JOURNAL_SECONDS)

    def _keep(self, table: str, key: str, value: Mapping[str, Any], ttl_seconds: float | None = None) -> None:
        self._changed[table, key] = Record(table, key, orjson.dumps(value), ttl_seconds)


def change_record(alert: AlertState) -> Record:
    """The record of an alert that began to fire or was resolved: written with the states, it outlives a crash.

    A day is longer than any notification of it waits.
    """
    notified = notified_alert(alert)
    return Record(CHANGES, notified.fingerprint, orjson.dumps(notified.as_json()), 86_400.0)


def journal_entry(delivery: Delivery, outcome: str, now_ms: int) -> dict[str, Any]:
    """An entry of the journal: what was sent, when, to whom, why, and what became of it."""
    return {
        "id": delivery.id,
        "created_ms": delivery.created_ms,
        "at_ms": now_ms,
        "receiver": delivery.receiver,
        "integration": delivery.integration,
        "group_key": delivery.group_key,
        "reason": delivery.reason,
        "status": delivery.status,
        "outcome": outcome,
        "attempts": delivery.attempts,
        "error": delivery.error,
        "alerts": [
            {
                "fingerprint": alert.fingerprint,
                "alertname": alert.labels.get("alertname", ""),
                "status": "resolved" if alert.is_resolved(delivery.now_ms) else "firing",
            }
            for alert in delivery.alerts
        ],
    }
