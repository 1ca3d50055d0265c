"""The registry: every family of this process, as a `prometheus_client` collector and as text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from prometheus_client.metrics_core import Metric

from ordinaut_ext_observability.errors import MetricDefinitionError
from ordinaut_ext_observability.metrics.exposition import FamilyRenderer, collect, describe
from ordinaut_ext_observability.metrics.family import AnyFamily, Counter

FamilyT = TypeVar("FamilyT", bound=AnyFamily)


class Registry:
    """Families by name, in the order of their registration.

    It can be registered on a `prometheus_client.CollectorRegistry`, and what that prints is what `pieces` yields.
    """

    def __init__(self) -> None:
        self._renderers: dict[str, tuple[AnyFamily, FamilyRenderer]] = {}
        self._refreshers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def register(self, family: FamilyT) -> FamilyT:
        """Add a family.

        Raises:
            MetricDefinitionError: another family has that name, or prints a series of that name.
        """
        names = sample_names(family)
        with self._lock:
            taken = {name for other, _ in self._renderers.values() for name in sample_names(other)}
            clash = names & taken
            if clash:
                raise MetricDefinitionError(f"{', '.join(sorted(clash))} is registered already")
            self._renderers = {**self._renderers, family.name: (family, FamilyRenderer(family))}
        return family

    def refresh_with(self, refresher: Callable[[], None]) -> None:
        """Call this before every rendering, to bring gauges up to date. It must not do I/O."""
        self._refreshers.append(refresher)

    def refresh(self) -> None:
        """Bring the gauges up to date that are read rather than kept."""
        for refresher in self._refreshers:
            refresher()

    def families(self) -> list[AnyFamily]:
        """Every family, in the order of registration."""
        return [family for family, _ in self._renderers.values()]

    def names(self) -> set[str]:
        """Every family name and sample name in use."""
        return {name for family in self.families() for name in sample_names(family)}

    def series_count(self) -> int:
        """The number of children of all families; a histogram's child prints several lines."""
        return sum(map(len, self.families()))

    def pieces(self, *, openmetrics: bool, only: frozenset[str] | None = None, escaping: str = "") -> Iterator[str]:
        """The text of all families, or of those with a name or a sample name among `only`, in short pieces."""
        for family, renderer in list(self._renderers.values()):
            if only is None or not only.isdisjoint(sample_names(family)):
                yield from renderer.pieces(openmetrics=openmetrics, escaping=escaping)

    def collect(self) -> Iterable[Metric]:
        """Every family with its samples, for `prometheus_client`."""
        self.refresh()
        return [collect(family) for family in self.families()]

    def describe(self) -> Iterable[Metric]:
        """Every family without samples, so that registering reads no values."""
        return [describe(family) for family in self.families()]


def sample_names(family: AnyFamily) -> set[str]:
    """The names a family occupies: its own, the one in its TYPE line, and those of its samples."""
    if isinstance(family, Counter):
        return {family.name, family.name.removesuffix("_total")}
    if family.kind == "histogram":
        return {family.name, *(f"{family.name}_{suffix}" for suffix in ("bucket", "count", "sum"))}
    return {family.name}
