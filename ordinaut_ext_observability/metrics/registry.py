"""The registry: every family of this process, as a `prometheus_client` collector and as text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from prometheus_client.metrics_core import Metric

from ordinaut_ext_observability.errors import MetricDefinitionError
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declare import Buckets, Declaration
from ordinaut_ext_observability.metrics.exposition import FamilyRenderer, collect, describe
from ordinaut_ext_observability.metrics.family import AnyFamily, Counter

FamilyT = TypeVar("FamilyT", bound=AnyFamily)


class Registry:
    """Families by name, in the order of their registration.

    It can be registered on a `prometheus_client.CollectorRegistry`, and what that prints is what `pieces` yields.
    """

    def __init__(
        self, budgets: LabelBudgets | None = None, buckets: Mapping[Buckets, tuple[float, ...]] | None = None
    ) -> None:
        """`budgets` bound the families bound here; `buckets` has bounds in place of declared ones."""
        self.budgets = budgets or LabelBudgets()
        self.on_overflow: Callable[[str, str], None] = lambda _metric, _label: None
        """Told the metric and the label whose new value had no place."""
        self._buckets = buckets or {}
        self._bound: dict[object, Any] = {}
        self._renderers: dict[str, tuple[AnyFamily, FamilyRenderer]] = {}
        self._refreshers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def bind(self, declaration: Declaration[FamilyT]) -> FamilyT:
        """The family of this declaration, registered when it is first asked for.

        Raises:
            MetricDefinitionError: another metric has its name, or the name, a label or the buckets are not usable.
        """
        family: FamilyT | None = self._bound.get(declaration)
        if family is None:
            buckets = declaration.buckets
            if buckets is not None and buckets in self._buckets:
                declared = replace(declaration, buckets=Buckets(buckets.reason, self._buckets[buckets]))
            else:
                declared = declaration
            family = self._bound[declaration] = self.register(declared.make(self.budgets, self._overflowed))
        return family

    def _overflowed(self, metric: str, label: str) -> None:
        self.on_overflow(metric, label)  # set when the metrics of the extension are bound, after the first families

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
