"""Bounds on label values: past a label's budget a new value is counted under `__other__`.

Totals stay right and memory stays flat whatever a client sends; the overflow itself is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

OVERFLOW_VALUE = "__other__"
"""The label value that stands for every value past the budget."""

MAX_VALUE_LENGTH = 200
"""Longest label value kept, in characters; the rest is cut off."""


@dataclass(frozen=True, slots=True)
class LabelBudgets:
    """Limits: how many distinct values each label of a metric may take, and how many series a metric may have."""

    default: int = 100
    by_label: Mapping[str, int] = field(default_factory=dict)
    max_series: int = 10_000

    def limit(self, label_name: str) -> int:
        """The number of distinct values allowed for a label, per metric."""
        return self.by_label.get(label_name, self.default)


UNBOUNDED = LabelBudgets(default=10**9, max_series=10**9)
"""No limits, for series whose names are under a budget elsewhere."""


class LabelGuard:
    """Applies the budgets to the label values of one metric. Its owner serialises the calls."""

    __slots__ = ("_budgets", "_label_names", "_on_overflow", "_seen")

    def __init__(
        self, label_names: tuple[str, ...], budgets: LabelBudgets, on_overflow: Callable[[str], object]
    ) -> None:
        self._label_names = label_names
        self._budgets = budgets
        self._on_overflow = on_overflow
        self._seen: tuple[set[str], ...] = tuple(set() for _ in label_names)

    def admit(self, values: tuple[str, ...], existing_series: int) -> tuple[str, ...]:
        """The label values under which a series not seen before is kept, given how many series the metric has.

        The values are of `MAX_VALUE_LENGTH` at most.
        """
        if existing_series >= self._budgets.max_series:
            self._on_overflow("")
            return (OVERFLOW_VALUE,) * len(values)
        admitted = []
        for name, seen, value in zip(self._label_names, self._seen, values, strict=True):
            kept = value
            if kept not in seen and kept != OVERFLOW_VALUE:
                if len(seen) >= self._budgets.limit(name):
                    self._on_overflow(name)
                    kept = OVERFLOW_VALUE
                else:
                    seen.add(kept)
            admitted.append(kept)
        return tuple(admitted)

    def note(self, values: tuple[str, ...]) -> None:
        """These label values are in use."""
        for seen, value in zip(self._seen, values, strict=True):
            if value != OVERFLOW_VALUE:
                seen.add(value)

    def keep_only(self, series: Iterable[tuple[str, ...]]) -> None:
        """Start anew with the values of these series: the others of the metric are gone."""
        for seen in self._seen:
            seen.clear()
        for values in series:
            self.note(values)
