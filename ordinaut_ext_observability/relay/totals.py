"""Sums of vectors as they are stored: the retired total, and what a new incarnation must not count again."""

from __future__ import annotations

from collections.abc import Callable
from operator import add, sub

from ordinaut_ext_observability.metrics.budget import LabelBudgets, LabelGuard
from ordinaut_ext_observability.relay.vector import (
    FamilyLayout,
    Numbers,
    VectorError,
    count_numbers,
    decode_layout,
    encode_layout,
)

NameOf = Callable[[str, tuple[str, ...]], tuple[str, ...]]
"""From a family's name and a series' label values to those under which it is counted."""


class Totals:
    """Numbers by family and series. New series are under the label budgets, so that a total has a largest size."""

    def __init__(self, budgets: LabelBudgets | None = None) -> None:
        self._budgets = budgets or LabelBudgets()
        self._families: dict[str, _Family] = {}

    def add(self, numbers: Numbers, name_of: NameOf | None = None) -> None:
        """Add every number to that of its series; `name_of` gives the label values under which a series is kept.

        A family that is defined otherwise than before (other labels, other buckets) begins anew: its old numbers
        cannot be added to its new ones.

        Raises:
            VectorError: the layout cannot be read, or has more or fewer numbers.
        """
        for layout, rows in by_family(numbers):
            family = self._families.get(layout.name)
            if family is None or not family.same_definition(layout):
                family = self._families[layout.name] = _Family(layout, self._budgets)
            for series, row in zip(layout.series, rows, strict=True):
                family.add(name_of(layout.name, series) if name_of is not None else series, row)

    def numbers(self) -> Numbers:
        """Layout and numbers of the total."""
        families = list(self._families.values())
        values: list[float] = []
        for family in families:
            for row in family.rows.values():
                values += row
        return Numbers(encode_layout(family.layout() for family in families), values)


class Baseline:
    """Numbers that are subtracted from later ones of the same series."""

    def __init__(self, numbers: Numbers) -> None:
        self._rows = {
            (layout.name, series): row
            for layout, rows in by_family(numbers)
            for series, row in zip(layout.series, rows, strict=True)
        }
        self._aligned_layout = b""
        self._aligned: list[float] = []

    def subtract_from(self, numbers: Numbers) -> Numbers:
        """The numbers since the baseline."""
        if numbers.layout != self._aligned_layout:
            self._aligned = [
                value
                for layout in decode_layout(numbers.layout)
                for series in layout.series
                for value in self._rows.get((layout.name, series)) or [0] * layout.width
            ]
            self._aligned_layout = numbers.layout
        return Numbers(numbers.layout, list(map(sub, numbers.values, self._aligned)))


def by_family(numbers: Numbers) -> list[tuple[FamilyLayout, list[list[float]]]]:
    """Each family with the numbers of each of its series.

    Raises:
        VectorError: the layout cannot be read, or has more or fewer numbers.
    """
    families = decode_layout(numbers.layout)
    if count_numbers(families) != len(numbers.values):
        raise VectorError("a vector has more or fewer numbers than its layout")
    result = []
    start = 0
    for layout in families:
        width, count = layout.width, len(layout.series)
        result.append((layout, [numbers.values[at : at + width] for at in range(start, start + width * count, width)]))
        start += width * count
    return result


class _Family:
    """One family of a total."""

    def __init__(self, layout: FamilyLayout, budgets: LabelBudgets) -> None:
        self._definition = layout._replace(series=())
        self._guard = LabelGuard(layout.label_names, budgets, lambda _label: None)
        self.rows: dict[tuple[str, ...], list[float]] = {}

    def same_definition(self, layout: FamilyLayout) -> bool:
        return layout._replace(series=()) == self._definition

    def add(self, series: tuple[str, ...], row: list[float]) -> None:
        known = self.rows.get(series)
        if known is None:
            series = self._guard.admit(series, len(self.rows))
            known = self.rows.get(series)
        self.rows[series] = row if known is None else list(map(add, known, row))

    def layout(self) -> FamilyLayout:
        return self._definition._replace(series=tuple(self.rows))
