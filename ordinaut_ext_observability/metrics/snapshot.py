"""The numbers of families at one moment: their series laid out once, and all values as one flat list.

The list of series is the same object while none comes or goes, so whoever has looked at it once need not look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Histogram


class Definition(NamedTuple):
    """The common part of a family's series; those of another definition, as of a later version, are others."""

    name: str
    kind: str
    label_names: tuple[str, ...]
    bounds: tuple[float, ...]
    """The bounds of a histogram's buckets; empty for others."""

    @property
    def numbers(self) -> int:
        """Numbers per series: one, or a histogram's sum and the count of each bucket."""
        return len(self.bounds) + 2 if self.kind == Histogram.kind else 1


SeriesKey = tuple[Definition, tuple[str, ...]]
"""A definition and label values: what tells series apart."""


class Row(NamedTuple):
    """One series, and where its numbers are among all: the first of them, and the one after its last."""

    key: SeriesKey
    start: int
    end: int


class SnapshotReader:
    """Reads the numbers of counters and histograms; lays their series out anew when some came or went."""

    def __init__(self, families: Callable[[], Iterable[AnyFamily]]) -> None:
        self._families = families
        self._children: list[tuple[AnyFamily, list[Any]]] = []
        self.rows: list[Row] = []
        """The series of the numbers that were read last, one after the other."""

    def read(self) -> list[float]:
        """Read the numbers as they are now. Other threads may be counting meanwhile."""
        children: list[tuple[AnyFamily, list[Any]]] = [
            (family, family.children()) for family in self._families() if isinstance(family, (Counter, Histogram))
        ]
        if children != self._children:
            self._children = children
            self.rows = list(_rows(children))
        values: list[float] = []
        for family, present in children:
            if isinstance(family, Histogram):
                for child in present:
                    values.append(child.sum)
                    values += child.counts
            else:
                values += [child.value for child in present]
        return values


def _rows(children: Iterable[tuple[AnyFamily, list[Any]]]) -> Iterator[Row]:
    start = 0
    for family, present in children:
        definition = definition_of(family)
        width = definition.numbers
        for child in present:
            yield Row((definition, child.label_values), start, start + width)
            start += width


def definition_of(family: AnyFamily) -> Definition:
    """Name, kind, labels and buckets of a family."""
    return Definition(family.name, family.kind, family.label_names, family.bounds)
