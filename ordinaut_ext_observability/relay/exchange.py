"""One process's dealings with the store: publish, say, read. From the relay's thread alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import Cluster, ClusterBusyError, ClusterUnavailableError
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.snapshot import measuring
from ordinaut_ext_observability.relay.entries import EXPIRY_INTERVALS, GaugeValue, Said, encode_entry, read_entry
from ordinaut_ext_observability.relay.families import RelayFamilies
from ordinaut_ext_observability.relay.merged import MergedRegistry, own_gauges
from ordinaut_ext_observability.relay.publisher import Publisher
from ordinaut_ext_observability.relay.series_list import SeriesList
from ordinaut_ext_observability.relay.store import Outcome, Stores

_TRIES = 3
"""A publisher that was forgotten takes a new id, and its series may have to be learned anew: then it is through."""


class Exchange:
    """The store, what was read of it, and what this process has added to it."""

    def __init__(
        self, open_stores: Callable[[], Stores], families: RelayFamilies, metrics: Metrics, clock: Clock
    ) -> None:
        """`open_stores` is called at the first use, and again where it failed."""
        self._open_stores = open_stores
        self._families = families
        self._metrics = metrics
        self._clock = clock
        self._publisher = Publisher(families.published, metrics.relay_failures.labels("number").inc)
        self._stores: Stores | None = None
        self._of_parent: Stores | None = None
        self._begin()

    def _begin(self) -> None:
        self._series = SeriesList(self._metrics.registry.budgets)
        self.merged = self._make_merged()
        """The families that show what was read last."""
        self._said: dict[str, Said] = {}
        self._read_at: float | None = None

    def reset_after_fork(self) -> None:
        """Have no connection, and count from zero: what the parent counted is the parent's."""
        # Kept, for what is thrown away closes itself: SQLite must not even close a connection of before a fork.
        self._of_parent, self._stores = self._stores or self._of_parent, None
        self._begin()
        self._publisher.skip()

    @property
    def store_name(self) -> str | None:
        """The name of the store, for people; None before one answered."""
        return self._stores.relay.name if self._stores is not None and self._publisher.store else None

    @property
    def cluster(self) -> Cluster:
        """What else the processes share.

        Raises:
            ClusterUnavailableError: there is no store.
        """
        return self._opened().cluster

    @property
    def process_count(self) -> int:
        """Processes that have not ended, this one included."""
        return len(self._said.keys() - {self._publisher.id}) + 1

    @property
    def others_serve(self) -> bool:
        """Whether other processes show the total, as far as is known."""
        return any(said.serves for publisher, said in self._said.items() if publisher != self._publisher.id)

    def was_read_within(self, seconds: float) -> bool:
        """Tell whether the total is not older than this."""
        return self._read_at is not None and self._clock.monotonic() - self._read_at < seconds

    def publish(self) -> None:
        """Add what was counted since.

        Raises:
            ClusterUnavailableError: the store does not answer, or changes all the time.
        """
        self._families.refresh(self._count_internal_error)
        relay = self._opened().relay
        for _ in range(_TRIES):
            if self._publisher.publish(relay, self._series) is Outcome.ADDED:
                return
        raise ClusterUnavailableError("the store loses what is published")

    def say(self, *, serves: bool, interval_seconds: float) -> None:
        """Say that this process lives, and what it measures.

        Raises:
            ClusterUnavailableError: the store does not answer.
        """
        content = encode_entry(measuring(self._families.published()), serves=serves, interval_seconds=interval_seconds)
        ttl_seconds = EXPIRY_INTERVALS * interval_seconds
        if not self._opened().relay.say(self._publisher.store, self._publisher.id, content, ttl_seconds):
            self._publisher.begin_anew()  # the store was replaced, and nothing was counted by which it showed

    def publish_and_read(self) -> None:
        """Add what was counted since, and read the total with it.

        Raises:
            ClusterUnavailableError: the store does not answer.
        """
        with suppress(ClusterBusyError):  # of a file to which another process writes, the total can be read
            self.publish()
        self.read()

    def read(self) -> None:
        """Read the total and the entries.

        Raises:
            ClusterUnavailableError: the store does not answer.
        """
        reading = self._opened().relay.read(self._series.store, self._series.length)
        self._series.update(reading.store, reading.series)
        said = {}
        for entry in reading.entries:
            try:
                said[entry.publisher] = read_entry(entry)
            except ValueError:
                self._count_internal_error()
        self._said = said
        families = self._families.shown()
        merged = self.merged if self.merged.fits(reading.store, families) else self._make_merged()
        merged.show_total(self._series, reading.total, self._publisher.acknowledged())
        self.merged = merged
        self._read_at = self._clock.monotonic()

    def leave(self) -> None:
        """Publish a last time, and be known no more. Then close the connection."""
        stores = self._opened()
        try:
            self.publish()
            stores.relay.leave(self._publisher.store, self._publisher.id)
        finally:
            self._publisher.begin_anew()
            self._stores = None
            stores.close()

    def gauges(self) -> list[dict[tuple[str, tuple[str, ...]], float]]:
        """The gauges of each living process, this one included, as they were read last."""
        return [
            {(gauge.name, gauge.label_values): gauge.value for gauge in said.gauges}
            for said in self._said.values()
            if said.living
        ]

    def _opened(self) -> Stores:
        if self._stores is None:
            self._stores = self._open_stores()
        return self._stores

    def _make_merged(self) -> MergedRegistry:
        merged = MergedRegistry(self._families.shown())
        for registry in (merged.registry, merged.gauges_registry):
            registry.refresh_with(lambda: self._refresh(merged))
        return merged

    def _refresh(self, merged: MergedRegistry) -> None:
        merged.show_gauges(self._all_gauges())
        merged.show_exemplars(self._families.published())

    def _count_internal_error(self) -> None:
        self._metrics.count_internal_error("relay")

    def _all_gauges(self) -> Iterator[GaugeValue]:
        yield from own_gauges(measuring(self._families.published()))
        for publisher, said in self._said.items():
            if said.living and publisher != self._publisher.id:
                yield from said.gauges
