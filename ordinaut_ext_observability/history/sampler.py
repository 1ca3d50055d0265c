"""Reading a registry's families into a table: the numbers that a scrape would show, without the text between."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from typing import Any

from ordinaut_ext_observability.history.series import NAME, Labels
from ordinaut_ext_observability.history.table import Row, Table
from ordinaut_ext_observability.metrics.exposition import format_value
from ordinaut_ext_observability.metrics.family import AnyFamily, Histogram

_LAID_OUT = 8
"""Children whose series are looked up without a pause; with 14 series each it takes a third of a millisecond."""


@dataclass(slots=True)
class _Layout:
    """The series of a family, in the order of their numbers."""

    blocks: list[Any]
    """The family's own; it has another list once a series is removed."""
    children: int = 0
    rows: list[Row | None] = field(default_factory=list)
    """None where the table has no room."""


class Sampler:
    """Reads families for a table. What it found out about their series it keeps while none comes or goes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._layouts: dict[AnyFamily, _Layout] = {}
        self.rows: list[Row] = []
        """The series of the last reading: the same list while they are the same."""
        self.values: array[float] = array("d")
        self.refused = 0
        """Series that the last reading had and the table no room for."""

    def read(self, families: Iterable[AnyFamily]) -> Iterator[None]:
        """Read their numbers, a block of children at a step; `rows`, `values` and `refused` are set at the end.

        Other threads may be counting meanwhile.
        """
        before, self._layouts, values = self._layouts, {}, array("d")
        more_fit = self.refused > 0 and self._table.has_room()
        for family in families:
            layout = before.get(family)
            if layout is None or layout.blocks is not family.blocks or (more_fit and None in layout.rows):
                layout = _Layout(family.blocks)
            self._layouts[family] = layout
            seen = 0
            for block in list(layout.blocks):  # the last of these may still grow, those before it are full
                children = block[:]
                seen += len(children)
                if layout.children < seen:
                    yield from self._lay_out(family, children[layout.children - seen :], layout)
                values.extend(_numbers(family, children))
                yield
        found = [row for layout in self._layouts.values() for row in layout.rows]
        self.refused = found.count(None)
        if self.refused:
            values = array("d", (value for row, value in zip(found, values, strict=True) if row is not None))
        rows = [row for row in found if row is not None]
        if rows != self.rows:
            self.rows = rows
        self.values = values

    def _lay_out(self, family: AnyFamily, children: list[Any], layout: _Layout) -> Iterator[None]:
        """Look up the series of further children."""
        suffixes = _suffixes(family)
        for number, child in enumerate(children, 1):
            pairs = [pair for pair in zip(family.label_names, child.label_values, strict=True) if pair[1]]
            layout.rows += [self._table.open(tuple(sorted((*pairs, *suffix)))) for suffix in suffixes]
            layout.children += 1
            if number % _LAID_OUT == 0:
                yield


def _suffixes(family: AnyFamily) -> list[Labels]:
    """The labels of a child's series that it does not have itself, in the order of `_numbers`."""
    name = family.name
    if not isinstance(family, Histogram):
        return [((NAME, name),)]
    of_buckets = (NAME, f"{name}_bucket")
    buckets: list[Labels] = [(("le", format_value(bound)), of_buckets) for bound in (*family.bounds, inf)]
    return [*buckets, ((NAME, f"{name}_count"),), ((NAME, f"{name}_sum"),)]


def _numbers(family: AnyFamily, children: list[Any]) -> list[float]:
    if not isinstance(family, Histogram):
        return [child.value for child in children]
    numbers: list[float] = []
    for child in children:
        numbers += accumulate(child.counts)
        count = numbers[-1]
        numbers.append(count)
        numbers.append(child.sum)
    return numbers
