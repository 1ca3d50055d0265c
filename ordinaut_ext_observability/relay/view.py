"""What is shown: families like the process's own that hold the sums over all processes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from operator import add
from typing import Any, NamedTuple

from ordinaut_ext_observability.clock import monotonic_seconds
from ordinaut_ext_observability.metrics.budget import UNBOUNDED
from ordinaut_ext_observability.metrics.family import AnyFamily, Gauge, Histogram
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.members import NO_EPOCH
from ordinaut_ext_observability.relay.series_names import SeriesNames
from ordinaut_ext_observability.relay.vector import Numbers, VectorError, decode_layout

_SLICE_SECONDS = 0.001
"""How long the sums are worked at before other threads may run."""


class View:
    """The sums of one epoch. While it is filled, a rendering that is under way finds each series old or new."""

    def __init__(self, families: Iterable[AnyFamily], names: SeriesNames | None = None) -> None:
        """`families` are the process's own, the view's are without series; `names` are shared by several views."""
        self.registry = Registry()
        self.gauges_registry = Registry()
        """The gauges alone."""
        self.epoch = NO_EPOCH
        self._names = names or SeriesNames()
        self._sums: dict[str, _Sums] = {}
        self._gauges: dict[str, Gauge] = {}
        for family in families:
            if isinstance(family, Gauge):
                gauge = self.registry.register(family.twin(family.budgets))
                self._gauges[gauge.name] = self.gauges_registry.register(gauge)
            else:
                twin = self.registry.register(family.twin(UNBOUNDED))
                self._sums[twin.name] = _Sums(twin, family, self._names)
        self.family_count = len(self.registry.families())
        self._maps: dict[bytes, _Map] = {}

    def fill(self, epoch: int, vectors: Sequence[Numbers]) -> None:
        """Show the sums of these vectors of counts.

        Raises:
            VectorError: one of them cannot be read; nothing is changed.
        """
        maps = {numbers.layout: self._map(numbers.layout) for numbers in vectors}
        if maps.keys() != self._maps.keys() and self._forget_series_without_numbers(maps):
            maps = {numbers.layout: self._map(numbers.layout) for numbers in vectors}
        for numbers in vectors:
            if maps[numbers.layout].length != len(numbers.values):
                raise VectorError("a vector has more or fewer numbers than its layout")
        for sums in self._sums.values():
            sums.begin()
        slice_started = monotonic_seconds()
        for numbers in vectors:
            for part in maps[numbers.layout].parts:
                part.sums.add(part.positions, numbers.values[part.start : part.end])
                if monotonic_seconds() - slice_started > _SLICE_SECONDS:
                    time.sleep(0)  # lets threads that wait for the interpreter go first
                    slice_started = monotonic_seconds()
        for sums in self._sums.values():
            sums.show()
        self._maps = maps
        self.epoch = epoch

    def show_gauges(self, own: Iterable[Gauge], others: Iterable[Numbers]) -> None:
        """Show the process's own gauges and those of other processes, merged as each family says.

        What this process has no gauge for is left out.
        """
        shown: dict[str, dict[Any, float]] = {name: {} for name in self._gauges}
        for gauge in own:
            for child in gauge.children():
                self._merge(shown, gauge.name, child.label_values, child.value)
        for numbers in others:
            values = iter(numbers.values)
            for layout in decode_layout(numbers.layout):
                twin = self._gauges.get(layout.name)
                known = twin is not None and twin.label_names == layout.label_names
                for series, value in zip(layout.series, values, strict=False):
                    if known:
                        self._merge(shown, layout.name, series, value)
        for name, merged in shown.items():
            for child, value in merged.items():
                child.set(value)
            gauge = self._gauges[name]
            if len(gauge) > len(merged):
                gauge.keep_only(merged)

    def _merge(self, shown: dict[str, dict[Any, float]], name: str, series: tuple[str, ...], value: float) -> None:
        gauge = self._gauges.get(name)
        if gauge is None:
            return
        child = gauge.labels(*series)
        merged = shown[name]
        if child not in merged:
            merged[child] = value
        elif gauge.merged_by == "sum":
            merged[child] += value
        else:
            merged[child] = max(merged[child], value)

    def _forget_series_without_numbers(self, maps: Mapping[bytes, _Map]) -> bool:
        """Series that no process has any more, nor the retired total, go; whether there were any."""
        used: dict[str, set[int]] = {name: set() for name in self._sums}
        for known in maps.values():
            for part in known.parts:
                used[part.sums.name].update(part.positions)
        forgot = [self._sums[name].keep_only(positions) for name, positions in used.items()]
        if any(forgot):
            self._maps = {}  # positions have changed
        return any(forgot)

    def _map(self, layout: bytes) -> _Map:
        known = self._maps.get(layout)
        if known is not None:
            return known
        parts = []
        start = 0
        for family in decode_layout(layout):
            end = start + family.width * len(family.series)
            sums = self._sums.get(family.name)
            if sums is not None and sums.adds(family.kind, family.label_names, family.bounds):
                parts.append(_Part(sums, sums.positions(family.series), start, end))
            start = end
        return _Map(start, parts)


class _Part(NamedTuple):
    """Where the numbers of one family are in a vector, and where they belong."""

    sums: _Sums
    positions: list[int]
    start: int
    end: int


class _Map(NamedTuple):
    """Where the numbers of a layout belong."""

    length: int
    parts: list[_Part]


class _Sums:
    """The sums of one family, series by series in the order of the view's family."""

    def __init__(self, family: Any, like: AnyFamily, names: SeriesNames) -> None:
        """`like` has the label budgets that count."""
        self._family = family
        self._like = like
        self._names = names
        self._bounds = family.bounds if isinstance(family, Histogram) else ()
        self._width = len(self._bounds) + 2 if isinstance(family, Histogram) else 1
        self._children: list[Any] = list(family.children())
        self._positions: dict[Any, int] = {child: position for position, child in enumerate(self._children)}
        self._rows: list[Any] = []

    @property
    def name(self) -> str:
        """Of the family."""
        return str(self._family.name)

    def keep_only(self, positions: set[int]) -> bool:
        """Forget the series at other places; whether there were any."""
        kept = [child for child in self._children if self._positions[child] in positions or not child.label_values]
        if len(kept) == len(self._children):
            return False
        self._family.keep_only(set(kept))
        self._children = kept
        self._positions = {child: position for position, child in enumerate(kept)}
        return True

    def adds(self, kind: str, label_names: tuple[str, ...], bounds: tuple[float, ...]) -> bool:
        """Whether numbers of a family so defined can be added to these."""
        return (kind, label_names, bounds) == (self._family.kind, self._family.label_names, self._bounds)

    def positions(self, series: Iterable[tuple[str, ...]]) -> list[int]:
        """The place of each series; past the label budgets several have the same."""
        positions = []
        for values in series:
            child = self._family.labels(*self._names.of(self._like, values))
            position = self._positions.get(child)
            if position is None:
                position = self._positions[child] = len(self._children)
                self._children.append(child)
            positions.append(position)
        return positions

    def begin(self) -> None:
        self._rows = [0] * len(self._children) if self._width == 1 else [None] * len(self._children)

    def add(self, positions: list[int], values: list[float]) -> None:
        rows = self._rows
        if self._width == 1:
            for position, value in zip(positions, values, strict=True):
                rows[position] += value
            return
        width = self._width
        for index, position in enumerate(positions):
            row = values[index * width : (index + 1) * width]
            known = rows[position]
            rows[position] = row if known is None else list(map(add, known, row))

    def show(self) -> None:
        if self._width == 1:
            for child, value in zip(self._children, self._rows, strict=True):
                child.value = value
            return
        for child, row in zip(self._children, self._rows, strict=True):
            if row is not None:
                child.sum, child.counts = row[0], row[1:]
        self._rows = []
