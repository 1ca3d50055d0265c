"""The ledger: what was told to whom, what is to be sent, the journal. Each fact is a record of its own in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, notified_alert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, Told
from ordinaut_ext_observability.alerts.notifications.records import (
    CHANGES,
    JOURNAL,
    OUTBOX,
    TOLD,
    make_record,
    read_records,
)
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.cluster.base import Record

TABLES: Final = (OUTBOX, TOLD, CHANGES)
"""The tables that a notifier is restored from."""

JOURNAL_SECONDS: Final = 30 * 86_400.0

MAX_UNSAVED: Final = 10_000
"""Records that wait for a store that does not answer: an hour of many notifications."""


class Ledger:
    """The facts as the process that leads knows them, and the records of them that are to be written."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}
        self.outbox: dict[str, Delivery] = {}
        self.under_way: set[str] = set()
        """Keys of deliveries that are being sent: until that has ended they stay as they are."""
        self._changed: dict[tuple[str, str], Record] = {}

    def restore(self, tables: Mapping[str, Mapping[str, bytes]]) -> tuple[list[NotifiedAlert], int]:
        """Take over what is kept in the store, where it is not known better.

        Returns the alerts that it is about, and the number of records that cannot be read.
        """
        outbox = read_records(Delivery, tables.get(OUTBOX, {}))
        told = read_records(Told, tables.get(TOLD, {}))
        changes = read_records(NotifiedAlert, tables.get(CHANGES, {}))
        unreadable = sum(len(tables.get(name, ())) for name in TABLES) - len(outbox) - len(told) - len(changes)
        waiting = {key: each for key, each in outbox.items() if (OUTBOX, key) not in self._changed}
        self.told, self.outbox = told | self.told, waiting | self.outbox
        alerts = [alert for delivery in self.outbox.values() for alert in delivery.alerts]
        return [*alerts, *changes.values()], unreadable

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

    def forget(self, now_ms: int) -> None:
        """Forget what is over for as long as the journal goes back; what fires is remembered for as long as it does."""
        since_ms = now_ms - JOURNAL_SECONDS * 1000
        for key in [key for key, told in self.told.items() if not told.firing and told.at_ms < since_ms]:
            del self.told[key]

    def due(self, now_ms: int) -> list[Delivery]:
        """The deliveries to try now, the oldest first."""
        due = [delivery for delivery in self.outbox.values() if delivery.next_try_ms <= now_ms]
        return sorted(due, key=lambda delivery: delivery.created_ms)

    def shift(self, by_ms: int) -> None:
        """Move the times at which something is to be done, as when the clock was set."""
        for delivery in self.outbox.values():
            delivery.next_try_ms += by_ms
        for told in self.told.values():
            told.at_ms, told.since_ms = told.at_ms + by_ms, told.since_ms + by_ms

    def note_told(self, delivery: Delivery, also_firing: Mapping[str, NotifiedAlert]) -> None:
        """Note what the receiver knows now; `also_firing` are alerts that it knows of from before."""
        before = self.told.get(delivery.key)
        firing = {alert.fingerprint: alert for alert in delivery.firing} | dict(also_firing)
        resolved = [alert.fingerprint for alert in delivery.resolved]
        repeats = (before.repeats + 1 if before else 0) if delivery.reason == "repeat" else 0
        goes_on = before is not None and before.firing and delivery.reason != "silence_ended"
        since_ms = before.since_ms if before is not None and goes_on else delivery.created_ms
        is_acknowledged = delivery.reason == "acknowledged"
        told = Told(delivery.now_ms, firing, resolved, repeats, since_ms, acknowledged=is_acknowledged)
        self.told[delivery.key] = told
        # Where it is over, the record ends by itself.
        self._keep(TOLD, delivery.key, told, None if firing else JOURNAL_SECONDS)

    def put(self, delivery: Delivery) -> None:
        """Keep a delivery that is to be sent, as it is now."""
        self.outbox[delivery.key] = delivery
        self._keep(OUTBOX, delivery.key, delivery)

    def remove(self, delivery: Delivery, outcome: str, now_ms: int) -> None:
        """Nothing more is to be sent: it was, or will not be."""
        self.outbox.pop(delivery.key, None)
        self._changed[OUTBOX, delivery.key] = Record(OUTBOX, delivery.key, None)
        self.write_journal(delivery, outcome, now_ms)

    def write_journal(self, delivery: Delivery, outcome: str, now_ms: int) -> None:
        """Note what became of a delivery."""
        self._keep(JOURNAL, delivery.id, journal_entry(delivery, outcome, now_ms), JOURNAL_SECONDS)

    def _keep(self, table: str, key: str, value: Any, ttl_seconds: float | None = None) -> None:
        self._changed[table, key] = make_record(table, key, value, ttl_seconds)


def change_record(alert: AlertState) -> Record:
    """The record of an alert that began to fire or was resolved: written with the states, it outlives a crash.

    A day is longer than any notification of it waits.
    """
    notified = notified_alert(alert)
    return make_record(CHANGES, notified.fingerprint, notified, 86_400.0)


def journal_entry(delivery: Delivery, outcome: str, now_ms: int) -> dict[str, Any]:
    """An entry of the journal: what was sent, when, to whom, why, and what became of it."""
    names = ("id", "created_ms", "receiver", "integration", "group_key", "reason", "status", "attempts", "error")
    return {name: getattr(delivery, name) for name in names} | {
        "at_ms": now_ms,
        "outcome": outcome,
        "alert_count": len(delivery.alerts),
        "alerts": [
            {
                "fingerprint": alert.fingerprint,
                "alertname": alert.labels.get("alertname", ""),
                "status": "resolved" if alert.is_resolved(delivery.now_ms) else "firing",
            }
            for alert in delivery.alerts
        ],
    }
