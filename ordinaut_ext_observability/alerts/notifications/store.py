"""The records about alerts, as any process of the installation reads and writes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, Told
from ordinaut_ext_observability.alerts.notifications.records import (
    JOURNAL,
    OUTBOX,
    POSTED,
    SILENCES,
    TOLD,
    make_record,
    read_records,
)
from ordinaut_ext_observability.alerts.notifications.silences import RETENTION_MS, Silence
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.cluster.base import Cluster, ClusterUnavailableError, Record
from ordinaut_ext_observability.cluster.sqlite import MEMORY, SqliteCluster

_POSTED_SECONDS: Final = 15 * 60.0
"""An alert that was posted is forgotten so long after its end."""

ValueT = TypeVar("ValueT")


class NotificationStore:
    """The records, in a store that is opened at the first call. Calls may come from any thread, one at a time each.

    Without a store they are this process's alone, and end with it. All that ask it raise `ClusterUnavailableError`.
    """

    def __init__(self, open_store: Callable[[], Cluster] | None, clock: Clock) -> None:
        self._open = open_store or (lambda: SqliteCluster(MEMORY, clock))
        self._clock = clock
        self._store: Cluster | None = None
        self._in_use = threading.Lock()
        self.problem = ""
        """Words for the store's not answering; empty while it does."""
        self._of_parent: Cluster | None = None
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Open a store of its own: what is thrown away would close the parent's connection."""
        self._of_parent, self._store = self._store or self._of_parent, None
        self._in_use, self.problem = threading.Lock(), ""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return round(self._clock.wall() * 1000)

    def read(self, *tables: str) -> list[dict[str, bytes]]:
        """The records of these tables."""
        return self._call(lambda store: store.records(*tables))

    def write(self, records: Sequence[Record]) -> None:
        """Write records, all or none."""
        self._call(lambda store: store.write(records=records))

    def silences(self) -> dict[str, Silence]:
        """Every silence that is remembered, by id."""
        return read_records(Silence, *self.read(SILENCES))

    def silences_and_posted(self) -> tuple[dict[str, Silence], list[NotifiedAlert]]:
        """The silences, and the alerts that were posted to a process of the installation."""
        silences, posted = self.read(SILENCES, POSTED)
        return read_records(Silence, silences), list(read_records(NotifiedAlert, posted).values())

    def put_silences(self, silences: Iterable[Silence]) -> None:
        """Keep silences."""
        now_ms, records = self.now_ms(), []
        for silence in silences:
            left_ms = silence.ends_at_ms - now_ms + RETENTION_MS
            records.append(make_record(SILENCES, silence.id, silence, max(left_ms / 1000, 1.0)))
        self.write(records)

    def put_alerts(self, alerts: Iterable[NotifiedAlert]) -> None:
        """Keep alerts that were posted to this process."""
        now_ms, records = self.now_ms(), []
        for alert in alerts:
            left_ms = max((alert.ends_at_ms or now_ms) - now_ms, 0)
            records.append(make_record(POSTED, alert.fingerprint, alert, left_ms / 1000 + _POSTED_SECONDS))
        self.write(records)

    def sending(self) -> tuple[dict[str, Told], dict[str, Delivery]]:
        """All that was told and that waits, by group and integration."""
        told, outbox = self.read(TOLD, OUTBOX)
        return read_records(Told, told), read_records(Delivery, outbox)

    def journal(self) -> list[dict[str, Any]]:
        """The entries of the journal, the newest first."""
        entries: dict[str, dict[str, Any]] = read_records(dict, *self.read(JOURNAL))
        return sorted(entries.values(), key=lambda entry: entry.get("at_ms", 0), reverse=True)

    def close(self) -> None:
        """Give back the connection; what is in memory only is lost. Safe more than once."""
        with self._in_use:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _call(self, call: Callable[[Cluster], ValueT]) -> ValueT:
        with self._in_use:
            try:
                self._store = self._store or self._open()
                answer = call(self._store)
            except ClusterUnavailableError as error:
                self.problem = str(error)
                raise
            self.problem = ""
            return answer
