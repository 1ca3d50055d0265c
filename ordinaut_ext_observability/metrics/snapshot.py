"""The numbers of families at one moment: their series laid out once, and all values as one flat list.

The layout is the same object while no series comes or goes, so whoever has looked at it once need not look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Gauge, Histogram


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


class FamilyLayout(NamedTuple):
    """The series of one family, in the order of their numbers."""

    definition: Definition
    series: tuple[tuple[str, ...], ...]
    """The label values of each."""


class Snapshot(NamedTuple):
    """Series and their numbers."""

    layout: tuple[FamilyLayout, ...]
    values: list[float]


class SnapshotReader:
    """Reads the numbers of families; lays their series out anew when some came or went."""

    def __init__(self, families: Callable[[], Iterable[AnyFamily]]) -> None:
        self._families = families
        self._children: list[tuple[AnyFamily, list[Any]]] = []
        self._layout: tuple[FamilyLayout, ...] = ()

    def read(self) -> Snapshot:
        """Read the numbers as they are now. Other threads may be counting meanwhile."""
        children: list[tuple[AnyFamily, list[Any]]] = [(family, family.children()) for family in self._families()]
        if children != self._children:
            self._children = children
            self._layout = tuple(
                FamilyLayout(definition_of(family), tuple(child.label_values for child in present))
                for family, present in children
                if present
            )
        values: list[float] = []
        for family, present in children:
            if isinstance(family, Histogram):
                for child in present:
                    values.append(child.sum)
                    values += child.counts
            else:
                values += [child.value for child in present]
        return Snapshot(self._layout, values)


def definition_of(family: AnyFamily) -> Definition:
    """Name, kind, labels and buckets of a family."""
    return Definition(family.name, family.kind, family.label_names, family.bounds)


def counting(families: Iterable[AnyFamily]) -> list[AnyFamily]:
    """The families whose numbers only grow."""
    return [family for family in families if isinstance(family, (Counter, Histogram))]


def measuring(families: Iterable[AnyFamily]) -> list[Gauge]:
    """The families whose numbers are of the moment."""
    return [family for family in families if isinstance(family, Gauge)]
