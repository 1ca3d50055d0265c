"""The registry: every family of this process, as a `prometheus_client` collector and as text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ordinaut_ext_observability.errors import MetricDefinitionError
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declare import Buckets, Declaration, FamilyT
from ordinaut_ext_observability.metrics.exposition import OPENMETRICS_END, FamilyRenderer, describe
from ordinaut_ext_observability.metrics.family import AnyFamily, Counter


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
        """Told the metric and the label whose new value had no place, by families bound from then on."""
        self._buckets = buckets or {}
        self._bound: dict[object, Any] = {}
        self._renderers: dict[AnyFamily, FamilyRenderer] = {}
        self._names: frozenset[str] = frozenset()
        self._refreshers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def bind(self, declaration: Declaration[FamilyT]) -> FamilyT:
        """The family of this declaration, registered when it is first asked for.

        Raises MetricDefinitionError where another metric has its name, or the definition is not usable.
        """
        family: FamilyT | None = self._bound.get(declaration)
        if family is None:
            buckets, max_values = declaration.buckets, declaration.max_values
            family = declaration.family_type(
                declaration.name,
                declaration.help,
                declaration.label_names,
                bounds=self._buckets.get(buckets, buckets.bounds) if buckets is not None else (),
                merged_by=declaration.merged_by,
                budgets=LabelBudgets(max_values) if max_values is not None else self.budgets,
                on_overflow=self.on_overflow,
            )
            self._bound[declaration] = self.register(family)
        return family

    def register(self, family: FamilyT) -> FamilyT:
        """Add a family; raises MetricDefinitionError where another one has that name, or prints a series of it."""
        with self._lock:
            clash = sample_names(family) & self._names
            if clash:
                raise MetricDefinitionError(f"{', '.join(sorted(clash))} is registered already")
            self._renderers = {**self._renderers, family: FamilyRenderer(family)}
            self._names |= sample_names(family)
        return family

    def refresh_with(self, refresher: Callable[[], None]) -> None:
        """Call this before every rendering, to bring gauges up to date. It must not wait."""
        self._refreshers.append(refresher)

    def refresh(self) -> None:
        """Bring the gauges up to date that are read rather than kept."""
        for refresher in self._refreshers:
            refresher()

    def families(self) -> list[AnyFamily]:
        """Families in the order of registration."""
        return list(self._renderers)

    def names(self) -> set[str]:
        """Every family name and sample name in use."""
        return set(self._names)

    def series_count(self) -> int:
        """The number of children of all families; a histogram's child prints several lines."""
        return sum(map(len, self._renderers))

    def pieces(self, *, openmetrics: bool, only: frozenset[str] | None = None, escaping: str = "") -> Iterator[str]:
        """The text of all families, or of those with a name or a sample name among `only`, in short pieces."""
        for family, renderer in self._renderers.items():
            if only is None or not only.isdisjoint(sample_names(family)):
                yield from renderer.pieces(openmetrics=openmetrics, escaping=escaping)

    def collect(self) -> Iterable[Metric]:
        """Families with their samples, for `prometheus_client`: what it reads in our text."""
        self.refresh()
        text = "".join(self.pieces(openmetrics=True)) + OPENMETRICS_END
        return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]

    def describe(self) -> Iterable[Metric]:
        """Families without samples, so that registering reads no values."""
        return [describe(family) for family in self._renderers]


def sample_names(family: AnyFamily) -> set[str]:
    """The names a family occupies: its own, the one in its TYPE line, and those of its samples."""
    if isinstance(family, Counter):
        return {family.name, family.name.removesuffix("_total")}
    if family.kind == "histogram":
        return {family.name, *(f"{family.name}_{suffix}" for suffix in ("bucket", "count", "sum"))}
    return {family.name}
