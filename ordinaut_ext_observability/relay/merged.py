"""Families like the process's own that show the total, and the gauges of all living processes."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Sequence
from operator import add, sub
from typing import Any, NamedTuple

from ordinaut_ext_observability.metrics.budget import UNBOUNDED
from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Gauge, Histogram
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.metrics.snapshot import Definition, Row, SnapshotReader, definition_of
from ordinaut_ext_observability.relay.publisher import beginning
from ordinaut_ext_observability.relay.series_list import SeriesList, number_at

_SERIES_PER_BLOCK = 64
"""Series that are compared at once with those of the reading before; most have not changed."""


class GaugeValue(NamedTuple):
    """One series of a gauge."""

    name: str
    label_names: tuple[str, ...]
    label_values: tuple[str, ...]
    value: float


class MergedRegistry:
    """The total under the names of this process's families, and the gauges of all processes."""

    def __init__(self, families: Sequence[AnyFamily]) -> None:
        """`families` are the process's own; those here begin without series."""
        self.registry = Registry()
        self.gauges_registry = Registry()
        """The gauges alone."""
        self.store = ""
        """The identity of the store whose total is shown; empty before one was read."""
        self._counts: dict[Definition, Counter | Histogram] = {}
        self._gauges: dict[str, Gauge] = {}
        self._shown: list[tuple[Any, int, int]] = []
        """The series that are shown, each with the first of its places in the total and the one after its last."""
        self._known_series = 0
        self._total: array[int] = array("q")
        self._acknowledged: tuple[list[Row], list[float]] = ([], [])
        self._lock = threading.Lock()
        self._alone = False
        """Set once own counts were shown on top of the total."""
        for family in families:
            if isinstance(family, Gauge):
                gauge = self.registry.register(family.twin(family.budgets))
                self._gauges[gauge.name] = self.gauges_registry.register(gauge)
            else:
                self._counts[definition_of(family)] = self.registry.register(family.twin(UNBOUNDED))

    def fits(self, store: str, families: Sequence[AnyFamily]) -> bool:
        """Tell whether this store's total, under these families, can be shown here.

        Not after own counts were: in the total they may have other labels, where a budget is used up.
        """
        return self.store in ("", store) and not self._alone and len(self.registry.families()) == len(families)

    def show_total(self, series: SeriesList, total: array[int], acknowledged: tuple[list[Row], list[float]]) -> None:
        """Show this total; `acknowledged` is what it has of this process."""
        with self._lock:
            self.store = series.store
            total.extend([0] * (series.size - len(total)))
            for known in series.series[self._known_series :]:
                family = self._counts.get(known.key[0])
                if family is not None:
                    self._shown.append((family.labels(*known.key[1]), known.start, known.end))
            self._known_series = len(series.series)
            before, now = memoryview(self._total), memoryview(total)
            for start in range(0, len(self._shown), _SERIES_PER_BLOCK):
                block = self._shown[start : start + _SERIES_PER_BLOCK]
                numbers = slice(block[0][1], block[-1][2])
                if before[numbers] != now[numbers]:  # of those that are new, there were none before
                    _show(block, total)
            self._total, self._acknowledged = total, acknowledged

    def show_alone(self, families: Iterable[AnyFamily]) -> None:
        """Show the last total and, on top of it, what these families of the process counted beyond it."""
        with self._lock:
            self._alone = True
            _show(self._shown, self._total)
            shown = {child for child, *_ in self._shown}
            rows, acknowledged = self._acknowledged
            known = {row.key: acknowledged[row.start : row.end] for row in rows}
            reader = SnapshotReader(lambda: families)
            values = reader.read()
            for row in reader.rows:
                family = self._counts.get(row.key[0])
                if family is not None:
                    child: Any = family.labels(*row.key[1])
                    now = values[row.start : row.end]
                    then = beginning(now, known.get(row.key) or [0] * len(now))
                    _add(child, list(map(sub, now, then)), begin=child not in shown)
                    shown.add(child)

    def show_gauges(self, values: Iterable[GaugeValue]) -> None:
        """Show the gauges of all processes, merged as each family says. Those of no family here are left out."""
        shown: dict[str, dict[Any, float]] = {name: {} for name in self._gauges}
        for name, label_names, label_values, value in values:
            gauge = self._gauges.get(name)
            if gauge is None or gauge.label_names != label_names:
                continue
            child, merged = gauge.labels(*label_values), shown[name]
            if child in merged:
                value = merged[child] + value if gauge.merged_by == "sum" else max(merged[child], value)  # noqa: PLW2901
            merged[child] = value
        for name, merged in shown.items():
            for child, value in merged.items():
                child.set(value)
            gauge = self._gauges[name]
            if len(gauge) > len(merged):
                gauge.keep_only(merged)

    def show_exemplars(self, families: Iterable[AnyFamily]) -> None:
        """Show the exemplars of this process's own observations, which are in the total."""
        for family in families:
            if not isinstance(family, Histogram):
                continue
            shown = self._counts.get(definition_of(family))
            for child in family.children():
                known: Any = shown.find(*child.label_values) if shown is not None and child.exemplars else None
                if known is not None:
                    known.exemplars = child.exemplars


def _show(block: Iterable[tuple[Any, int, int]], total: array[int]) -> None:
    for child, place, end in block:
        if end - place > 2:
            child.sum, child.counts = number_at(total, place), total[place + 2 : end].tolist()
        else:
            child.value = number_at(total, place)


def _add(child: Any, numbers: list[float], *, begin: bool) -> None:
    """Add numbers to a child, or let it begin with them: what it showed before was of another moment."""
    first, *counts = numbers
    if not counts:
        child.value = first + (0 if begin else child.value)
    else:
        child.sum = first + (0 if begin else child.sum)
        child.counts = counts if begin else list(map(add, child.counts, counts))
