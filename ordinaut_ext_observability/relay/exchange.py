"""One process's dealings with the store: publish and read. One thread at a time.

An entry is what a living process says of this moment, as JSON: its gauges, and whether it shows the total.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

import orjson

from ordinaut_ext_observability.cluster.base import ClusterBusyError, ClusterUnavailableError, Document
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily, Gauge
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.merged import GaugeValue, MergedRegistry
from ordinaut_ext_observability.relay.publisher import Publisher
from ordinaut_ext_observability.relay.series_list import SeriesList
from ordinaut_ext_observability.relay.store import WATCHED, Entry, Outcome, OwnEntry, RelayStore

_TRIES = 3
"""A publisher that was forgotten takes a new id, and its series may have to be learned anew: then it is through."""


LIVING_INTERVALS = 2
"""A process that said nothing for so many of its intervals has no gauges any more: it ended, or hangs."""


def expiry_seconds(interval_seconds: float) -> float:
    """The time an entry is kept, a minute or twelve intervals; thirty where they are shorter than two seconds.

    Whether others serve must be known for longer than a hiccup of the machine takes.
    """
    return max(12 * interval_seconds, min(60.0, 30 * interval_seconds))


class Said(NamedTuple):
    """An entry, read; `serves` is set where the process shows the total of all."""

    serves: bool
    living: bool
    gauges: list[GaugeValue]


class Exchange:
    """The store, what was read of it, and what this process has added to it.

    All that asks the store raises `ClusterUnavailableError`.
    """

    def __init__(self, open_store: Callable[[], RelayStore], registries: Sequence[Registry], metrics: Metrics) -> None:
        """`open_store` is called at the first use, and again where it failed; families of one name are one."""
        self._open_store = open_store
        self._registries = registries
        self._metrics = metrics
        self.shown_only: Sequence[AnyFamily] = ()
        """Families of which this process publishes nothing: somebody else publishes for all what it counts there."""
        self.on_watched: Callable[[Document], object] = lambda _: None
        """Told of `WATCHED` where it has another version than when it was read last."""
        self._publisher = Publisher(self._published, metrics.relay_failures.labels("number").inc)
        self._store: RelayStore | None = None
        self._of_parent: RelayStore | None = None
        self._begin()

    def _begin(self) -> None:
        self._series = SeriesList(self._metrics.registry.budgets)
        self.merged = self._make_merged()
        """The families that show what was read last."""
        self._others: list[Said] = []
        self._watched_version = 0

    def reset_after_fork(self) -> None:
        """Have no connection, and count from zero: what the parent counted is the parent's."""
        # Kept: what is thrown away closes itself, and might end the parent's connection.
        self._of_parent, self._store = self._store or self._of_parent, None
        self._begin()
        self._publisher.skip()

    @property
    def store(self) -> RelayStore | None:
        """The store; None before one answered."""
        return self._store if self._publisher.store else None

    @property
    def store_name(self) -> str | None:
        """Name of the store the counts go through, or None before a store answered."""
        store = self.store
        return store.name if store is not None else None

    @property
    def process_count(self) -> int:
        """Processes that have not ended, this one included."""
        return len(self._others) + 1

    @property
    def others_serve(self) -> bool:
        """True where other processes show the total, as far as is known."""
        return any(said.serves for said in self._others)

    def gauges(self) -> list[list[GaugeValue]]:
        """The gauges of this process as they are now, and of each other that lives as they were read last."""
        return [list(gauge_values(self._published())), *(said.gauges for said in self._others if said.living)]

    def publish(self, *, serves: bool, interval_seconds: float) -> None:
        """Add what was counted since, and say that this process lives and what it measures.

        Where another process holds the store's file, who `serves` can read it all the same: that is only counted.
        """

        def say() -> OwnEntry:
            content = encode_entry(self._published(), serves=serves, interval_seconds=interval_seconds)
            return content, expiry_seconds(interval_seconds)

        try:
            self._publish(say)
        except ClusterBusyError:
            if not serves:
                raise
            self._metrics.relay_failures.labels("store").inc()

    def publish_and_read(self) -> None:
        """Add what was counted since, and read the total with it."""
        with suppress(ClusterBusyError):  # as above
            self._publish()
        self.read()

    def read(self) -> None:
        """Read the total and the entries."""
        reading = self._series.read(self._opened())
        others = []
        for entry in reading.entries:
            if entry.publisher != self._publisher.id:
                try:
                    others.append(read_entry(entry))
                except ValueError:
                    self._metrics.count_internal_error("relay")
        self._others = others
        merged = self.merged if self.merged.fits(reading.store, self._families()) else self._make_merged()
        merged.show_total(self._series, reading.total, self._publisher.acknowledged())
        self.merged = merged

    def show_alone(self, merged: MergedRegistry) -> None:
        """Show the total there and, on top of it, what this process counted beyond it. Does not ask the store."""
        self.refresh_families()
        merged.show_alone(self._published())

    def leave(self) -> None:
        """Publish a last time, and be known no more. Then close the connection."""
        store = self._opened()
        try:
            self._publish()
            store.leave(self._publisher.store, self._publisher.id)
        finally:
            self._publisher.begin_anew()
            self._store, self._watched_version = None, 0
            store.close()

    def _publish(self, say: Callable[[], OwnEntry] | None = None) -> None:
        self.refresh_families()
        store = self._opened()
        if not any(self._publisher.publish(store, self._series, say=say) is Outcome.ADDED for _ in range(_TRIES)):
            raise ClusterUnavailableError("the store loses what is published")
        if store.watched_version != self._watched_version:
            document = store.get(WATCHED)
            self._watched_version = document.version
            self.on_watched(document)

    def _opened(self) -> RelayStore:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _make_merged(self) -> MergedRegistry:
        merged = MergedRegistry(self._families())

        def refresh() -> None:
            merged.show_gauges(chain.from_iterable(self.gauges()))
            merged.show_exemplars(self._published())

        merged.registry.refresh_with(refresh)
        merged.gauges_registry.refresh_with(refresh)
        return merged

    def _families(self) -> list[AnyFamily]:
        by_name: dict[str, AnyFamily] = {}
        for family in chain.from_iterable(registry.families() for registry in self._registries):
            by_name.setdefault(family.name, family)
        return list(by_name.values())

    def _published(self) -> list[AnyFamily]:
        families = chain.from_iterable(registry.families() for registry in self._registries)
        return [family for family in families if family not in self.shown_only]

    def refresh_families(self) -> None:
        """Bring up to date what is read at scrapes: others show it, whether or not this process is scraped."""
        for registry in self._registries:
            try:
                registry.refresh()
            except Exception:  # noqa: BLE001 - the numbers as they are, then
                self._metrics.count_internal_error("relay")


def gauge_values(families: Iterable[AnyFamily]) -> Iterator[GaugeValue]:
    """The gauges among these families, as they are now."""
    for gauge in families:
        if isinstance(gauge, Gauge):
            for child in gauge.children():
                yield GaugeValue(gauge.name, gauge.label_names, child.label_values, child.value)


def encode_entry(families: Iterable[AnyFamily], *, serves: bool, interval_seconds: float) -> bytes:
    """The content of the entry of a process with these families."""
    gauges = [
        [gauge.name, gauge.label_names, children]
        for gauge in families
        if isinstance(gauge, Gauge) and (children := [[each.label_values, each.value] for each in gauge.children()])
    ]
    return orjson.dumps({"serves": serves, "interval": interval_seconds, "gauges": gauges})


def read_entry(entry: Entry) -> Said:
    """Read an entry, whichever version wrote it. Raises ValueError where it cannot be read."""
    try:
        fields = orjson.loads(entry.content)
        living = entry.age_seconds <= LIVING_INTERVALS * float(fields["interval"])
        return Said(bool(fields["serves"]), living, list(_gauges(fields["gauges"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("an entry of the relay store cannot be read") from error


def _gauges(families: Any) -> Iterator[GaugeValue]:
    for name, label_names, children, *_ in families:
        names = tuple(map(str, label_names))
        for label_values, value, *_rest in children:  # a newer version may add to both
            values = tuple(map(str, label_values))
            if len(values) == len(names):
                # JSON has neither NaN nor infinity: `orjson` writes null.
                yield GaugeValue(str(name), names, values, math.nan if value is None else float(value))
