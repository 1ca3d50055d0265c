"""The records about alerts, as any process of the installation reads and writes them, and the newest in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import orjson
from pydantic import Field

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
_MAX_BYTES, _MAX_ENTRIES, _MAX_ALERTS, _MAX_UNSENT = 64_000, 50, 10, 1_000  # each process reads them at each interval

ValueT = TypeVar("ValueT")
ItemT = TypeVar("ItemT", Silence, dict[str, Any])
_Item = Annotated[Silence | dict[str, Any], Field(union_mode="left_to_right")]


class Seen(NamedTuple):
    """Silences and the journal as one process knows them without asking: the newest first, 64 kB at most."""

    silences: list[Silence]  # that have not ended
    journal: list[dict[str, Any]]  # 50 entries at most; each names 10 of its `alerts` (`alert_count` has all)
    age_seconds: float | None  # since it read what others know; None: it never did


class NotificationStore:
    """The records, in a store that is opened at the first call. Calls may come from any thread, one at a time each.

    Without a store they are this process's alone, and end with it. All that ask it raise `ClusterUnavailableError`.
    """

    def __init__(self, open_store: Callable[[], Cluster] | None, clock: Clock) -> None:
        self._open = open_store or (lambda: SqliteCluster(MEMORY, clock))
        self._clock = clock
        self._store: Cluster | None = None
        self._of_parent: Cluster | None = None
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Open a store of its own: what is thrown away would close the parent's connection."""
        self._of_parent, self._store = self._store or self._of_parent, None
        self._in_use, self._noting = threading.Lock(), threading.Lock()
        self.problem = ""
        """Words for the store's not answering; empty while it does."""
        self._known, self._unsent = dict[str, _Item](), dict[str, _Item]()
        self._document: bytes | None = None
        self._read_at: float | None = None

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return round(self._clock.wall() * 1000)

    def read(self, *tables: str) -> list[dict[str, bytes]]:
        """The records of these tables."""
        return self._call(lambda store: store.records(*tables))

    def write(self, records: Sequence[Record]) -> None:
        """Write records, all or none."""
        self._note({each.key: orjson.loads(each.content) for each in records if each.table == JOURNAL and each.content})
        self._call(lambda store: store.write(records=records))

    def silences(self) -> dict[str, Silence]:
        """Every silence that is remembered, by id."""
        return self._note(read_records(Silence, *self.read(SILENCES)))

    def silences_and_posted(self) -> tuple[dict[str, Silence], list[NotifiedAlert]]:
        """The silences, and the alerts that were posted to a process of the installation."""
        silences, posted = self.read(SILENCES, POSTED)
        return self._note(read_records(Silence, silences)), list(read_records(NotifiedAlert, posted).values())

    def put_silences(self, silences: Sequence[Silence]) -> None:
        """Keep silences."""
        now_ms, records = self.now_ms(), []
        for silence in silences:
            left_ms = silence.ends_at_ms - now_ms + RETENTION_MS
            records.append(make_record(SILENCES, silence.id, silence, max(left_ms / 1000, 1.0)))
        self.write(records)
        self._note({each.id: each for each in silences})

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
        return [entry for _, entry in sorted(self._note(entries).items(), key=_changed_ms, reverse=True)]

    def seen(self) -> Seen:
        """Silences and journal as known in memory, never asking the store: also for an event loop."""
        known, now_ms = self._known.values(), self.now_ms()
        silences = [each for each in known if isinstance(each, Silence) and each.ends_at_ms > now_ms]
        age = None if self._read_at is None else self._clock.monotonic() - self._read_at
        return Seen(silences, [each for each in known if isinstance(each, dict)], age)

    @property
    def waits(self) -> bool:
        """True while something is unsent."""
        return bool(self._unsent)

    def exchange(self, document: bytes, write: Callable[[bytes], bool]) -> None:
        """Read the document of all processes, and add what is unsent; the next time, where `write` does not take it."""
        with self._noting:
            if document != self._document:
                read = read_records(dict[str, _Item], {"": document}).get("", {})
                self._document, self._known = document, self._newest(read, self._unsent)
            content = orjson.dumps(self._known)
            if self._unsent and (content == document or write(content)):
                self._document, self._unsent = content, {}
        self._read_at = self._clock.monotonic()

    def close(self) -> None:
        """Give back the connection; what is in memory only is lost. Safe more than once."""
        with self._in_use, self._noting:
            if self._store is not None:
                self._store.close()
                self._store = None
            self._known, self._document = {}, None

    def _note(self, items: dict[str, ItemT]) -> dict[str, ItemT]:
        """Know what was read or written, and return it."""
        with self._noting:
            old, self._known = self._known, self._newest(self._known, items)
            news: dict[str, _Item] = {key: it for key, it in items.items() if self._known.get(key) != old.get(key)}
            self._unsent = dict([*(self._unsent | news).items()][-_MAX_UNSENT:])
        return items

    def _newest(self, old: Mapping[str, _Item], new: Mapping[str, _Item]) -> dict[str, _Item]:
        """The later of each: silences that have not ended, then entries; as many as may be."""
        latest = dict(sorted([*old.items(), *new.items()], key=_changed_ms)).items()
        newest = sorted(latest, key=_changed_ms, reverse=True)
        silences = [item for item in newest if isinstance(item[1], Silence) and item[1].ends_at_ms > self.now_ms()]
        entries = [
            (key, it | {"alerts": (it.get("alerts") or [])[:_MAX_ALERTS]}) for key, it in newest if isinstance(it, dict)
        ]
        kept, left = dict[str, _Item](), _MAX_BYTES
        for key, each in [*silences, *entries[:_MAX_ENTRIES]]:
            if (size := len(orjson.dumps(each))) <= left:
                kept[key], left = each, left - size
        return kept

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


def _changed_ms(item: tuple[str, _Item]) -> int:
    return item[1].updated_at_ms if isinstance(item[1], Silence) else int(item[1].get("at_ms", 0))
