"""Under which label values a series is shown, where more processes have more of them than the budgets allow."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.budget import LabelGuard
from ordinaut_ext_observability.metrics.family import AnyFamily


class SeriesNames:
    """The label budgets over all processes. A series keeps its name: in every view, and in the retired total."""

    def __init__(self) -> None:
        self._families: dict[str, _Names] = {}

    def of(self, family: AnyFamily, series: tuple[str, ...]) -> tuple[str, ...]:
        """The label values under which the series is counted, `__other__` past a label's budget."""
        names = self._families.get(family.name)
        if names is None:
            names = self._families[family.name] = _Names(family)
        return names.of(series)


class _Names:
    """The names of one family."""

    def __init__(self, family: AnyFamily) -> None:
        self._guard = LabelGuard(family.label_names, family.budgets, lambda _label: None)
        self._admitted: set[tuple[str, ...]] = set()

    def of(self, series: tuple[str, ...]) -> tuple[str, ...]:
        if series in self._admitted:
            return series
        admitted = self._guard.admit(series, len(self._admitted))
        self._admitted.add(admitted)
        return admitted
