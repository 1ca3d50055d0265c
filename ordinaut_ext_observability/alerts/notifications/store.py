"""The records about alerts in the installation's store: any process reads and writes them.

silences   by id
posted     alerts that were posted to one of our processes, by fingerprint
told       what was told of each group, by group and integration; of what fires, kept for as long as it does
outbox     what is to be sent
journal    what was sent, when, to whom and why, for 30 days
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.dedup import Told, told_from_json
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.alerts.notifications.ledger import JOURNAL, OUTBOX, TOLD
from ordinaut_ext_observability.alerts.notifications.silences import RETENTION_MS, Silence
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import Cluster, ClusterUnavailableError, Record
from ordinaut_ext_observability.cluster.sqlite import MEMORY, SqliteCluster

SILENCES: Final = "silences"
POSTED: Final = "posted"
_POSTED_SECONDS: Final = 15 * 60.0
"""An alert that was posted is forgotten so long after its end."""

ValueT = TypeVar("ValueT")


class NotificationStore:
    """The records, in a store that is opened at the first call. Calls may come from any thread, one at a time each.

    Without a store they are this process's alone, and end with it.
    """

    def __init__(self, open_store: Callable[[], Cluster] | None, clock: Clock) -> None:
        self._open = open_store or (lambda: SqliteCluster(MEMORY, clock))
        self._clock = clock
        self._store: Cluster | None = None
        self._in_use = threading.Lock()
        self.problem = ""
        """Words for the store's not answering; empty while it does."""
        self.has_news = False
        """True where this process wrote what the one that leads has to see."""

    def read(self, *tables: str) -> list[dict[str, bytes]]:
        """The records of these tables. Raises `ClusterUnavailableError`."""
        return self._call(lambda store: store.records(*tables))

    def write(self, records: Sequence[Record]) -> bool:
        """Write records, all or none; False where the store does not answer."""
        try:
            return self._call(lambda store: store.write(records=records))
        except ClusterUnavailableError:
            return False

    def read_news(self) -> tuple[dict[str, Silence], list[NotifiedAlert]]:
        """The silences and the posted alerts. Raises `ClusterUnavailableError`."""
        self.has_news = False
        return self.read_records()

    def read_records(self) -> tuple[dict[str, Silence], list[NotifiedAlert]]:
        """The same, for whoever does not lead. Raises `ClusterUnavailableError`."""
        silences, posted = self.read(SILENCES, POSTED)
        return _readable(silences, Silence.from_json), list(_readable(posted, NotifiedAlert.from_json).values())

    def silences(self) -> dict[str, Silence]:
        """Every silence that is remembered, by id. Raises `ClusterUnavailableError`."""
        return _readable(self.read(SILENCES)[0], Silence.from_json)

    def put_silences(self, silences: Iterable[Silence]) -> bool:
        """Keep silences; False where the store does not answer."""
        records = []
        for silence in silences:
            left = (silence.ends_at_ms - self._clock.wall() * 1000 + RETENTION_MS) / 1000
            records.append(Record(SILENCES, silence.id, orjson.dumps(silence.as_json()), max(left, 1.0)))
        return self._put(records)

    def put_alerts(self, alerts: Iterable[NotifiedAlert]) -> bool:
        """Keep alerts that were posted to this process; False where the store does not answer."""
        now_ms = self._clock.wall() * 1000
        records = [
            Record(
                POSTED,
                alert.fingerprint,
                orjson.dumps(alert.as_json()),
                max((alert.ends_at_ms or now_ms) - now_ms, 0.0) / 1000 + _POSTED_SECONDS,
            )
            for alert in alerts
        ]
        return self._put(records)

    def sending(self) -> tuple[dict[str, Told], dict[str, Delivery]]:
        """What was told and what waits, by group and integration. Raises `ClusterUnavailableError`."""
        told, outbox = self.read(TOLD, OUTBOX)
        return _readable(told, told_from_json), _readable(outbox, Delivery.from_json)

    def journal(self) -> list[dict[str, Any]]:
        """The entries of the journal, the newest first. Raises `ClusterUnavailableError`."""
        entries: dict[str, dict[str, Any]] = _readable(self.read(JOURNAL)[0], dict)
        return sorted(entries.values(), key=lambda entry: entry.get("at_ms", 0), reverse=True)

    def close(self) -> None:
        """Give back the connection; what is in memory only is lost. Safe more than once."""
        with self._in_use:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _put(self, records: Sequence[Record]) -> bool:
        written = self.write(records)
        self.has_news = self.has_news or written
        return written

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


def _readable(records: Mapping[str, bytes], read: Callable[[Any], ValueT]) -> dict[str, ValueT]:
    """The records that can be read: another version of this package may have written others."""
    found = {}
    for key, content in records.items():
        try:
            found[key] = read(orjson.loads(content))
        except (ValueError, TypeError, KeyError):
            continue
    return found
