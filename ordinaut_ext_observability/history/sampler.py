"""Reading a registry's families into a table: the numbers that a scrape would show, without the text between."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import inf
from typing import Any

from ordinaut_ext_observability.history.series import NAME, Labels
from ordinaut_ext_observability.history.table import Row, Table
from ordinaut_ext_observability.metrics.exposition import format_value
from ordinaut_ext_observability.metrics.family import AnyFamily, Histogram

_LOOKED_UP = 8
"""Children whose series are looked up without a pause; with 14 series each it takes a third of a millisecond."""


class Sampler:
    """Reads families for a table. What it found out about their series it keeps while none comes or goes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._found: dict[int, tuple[list[Any], list[Row | None]]] = {}
        """Each block of children, by its identity, and the series of those it had, in the order of `_numbers`."""
        self.rows: list[Row] = []
        """The series of the last reading: the same list while they are the same."""
        self.values: array[float] = array("d")
        self.refused = 0
        """Series that the last reading had and the table no room for."""

    def read(self, families: Iterable[AnyFamily]) -> Iterator[None]:
        """Read their numbers, a block of children at a step; `rows`, `values` and `refused` are set at the end.

        Other threads may be counting meanwhile: blocks get further children at their ends, or others take their place.
        """
        values, before = array("d"), self._found
        self._found = {}
        more_fit = self.refused > 0 and self._table.has_room()
        for family in families:
            blocks: list[list[Any]] = [*family.blocks]
            for block in blocks:
                children = block[:]
                _, rows = before.get(id(block), (block, []))
                if more_fit and None in rows:
                    rows = []
                yield from self._look_up(family, children, rows)
                self._found[id(block)] = block, rows
                values.extend(_numbers(family, children))
                yield
        found = [row for _, rows in self._found.values() for row in rows]
        self.refused = found.count(None)
        if self.refused:
            values = array("d", (value for row, value in zip(found, values, strict=True) if row is not None))
        taken = [row for row in found if row is not None]
        if taken != self.rows:
            self.rows = taken
        self.values = values
        yield

    def _look_up(self, family: AnyFamily, children: list[Any], rows: list[Row | None]) -> Iterator[None]:
        """Add the series of those children that have none there yet."""
        suffixes = _suffixes(family)
        for number, child in enumerate(children[len(rows) // len(suffixes) :], 1):
            pairs = [pair for pair in zip(family.label_names, child.label_values, strict=True) if pair[1]]
            rows += [self._table.open(tuple(sorted((*pairs, *suffix)))) for suffix in suffixes]
            if number % _LOOKED_UP == 0:
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
