"""The series list: which series the total has, and where in it their numbers are.

A series is one line, `[width, name, kind, label names, bounds]` and below it its label values, both as JSON. Its place
follows from the widths of those before it, so a line that a newer version wrote is passed over, not misread. A counter,
as the sum of a histogram, takes two places, whole and billionths, so that additions are exact in any order; a bucket
takes one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.metrics.budget import LabelBudgets, LabelGuard
from ordinaut_ext_observability.metrics.family import Counter, Histogram
from ordinaut_ext_observability.metrics.snapshot import Definition

BILLION = 1_000_000_000

SeriesKey = tuple[Definition, tuple[str, ...]]
"""A definition and label values: what tells series apart."""


class SeriesListError(ClusterUnavailableError):
    """The series list cannot be read, and with it the store cannot be used."""


class Series(NamedTuple):
    """A series of the total."""

    key: SeriesKey
    place: int
    """The first of its places."""
    width: int


class SeriesList:
    """The series of one store, as far as they were read."""

    def __init__(self, budgets: LabelBudgets) -> None:
        self._budgets = budgets
        self._begin("")

    def _begin(self, store: str) -> None:
        self.store = store
        """The identity of the store whose list this is."""
        self.length = 0
        """Lines that were read, those of other versions included."""
        self.size = 0
        """Places that they take."""
        self.series: list[Series] = []
        self._places: dict[SeriesKey, int] = {}
        self._by_definition: dict[Definition, list[tuple[str, ...]]] = {}
        self._guards: dict[Definition, LabelGuard] = {}
        self._heads: dict[bytes, tuple[int, Definition | None]] = {}

    def update(self, store: str, lines: Iterable[bytes]) -> None:
        """Take over what the store has after what is known; or all of another store.

        Raises:
            SeriesListError: a line cannot be read.
        """
        if store != self.store:
            self._begin(store)
        for line in lines:
            head, _, values = line.partition(b"\n")
            width, definition = self._heads.get(head) or self._read_head(head)
            if definition is not None:
                self._add(definition, _values(values, len(definition.label_names)), width)
            self.size += width
            self.length += 1

    def discard_admissions(self) -> None:
        """Go back to what was read: what was admitted since was not appended, another process came first."""
        self._guards.clear()

    def find(self, key: SeriesKey) -> tuple[SeriesKey, int | None]:
        """The series under which one is counted, `__other__` past a label's budget, and its place, if it has one."""
        place = self._places.get(key)
        if place is not None:
            return key, place
        definition, values = key
        present = self._by_definition.get(definition, [])
        guard = self._guards.get(definition)
        if guard is None:
            guard = self._guards[definition] = LabelGuard(definition.label_names, self._budgets, lambda _label: None)
            for known in present:
                guard.note(known)
        admitted = definition, guard.admit(values, len(present))
        return admitted, self._places.get(admitted)

    def _add(self, definition: Definition, values: tuple[str, ...] | None, width: int) -> None:
        if values is None:
            return
        key = definition, values
        self.series.append(Series(key, self.size, width))
        self._places.setdefault(key, self.size)
        self._by_definition.setdefault(definition, []).append(values)
        if definition in self._guards:
            self._guards[definition].note(values)

    def _read_head(self, head: bytes) -> tuple[int, Definition | None]:
        try:
            width, *fields = orjson.loads(head)
        except (ValueError, TypeError):
            width, fields = None, []
        if type(width) is not int or width < 1:
            raise SeriesListError("the series list does not say how many places a series takes")
        definition = _definition(fields)
        if definition is not None and width_of(definition) != width:
            definition = None
        self._heads[head] = width, definition
        return width, definition


def encode_series(key: SeriesKey) -> bytes:
    """The line of a series."""
    definition, values = key
    return orjson.dumps([width_of(definition), *definition]) + b"\n" + orjson.dumps(values)


def width_of(definition: Definition) -> int:
    """How many places a series takes."""
    return definition.numbers + 1


def number_at(total: array[int], place: int) -> float:
    """The counter or sum at this place; a whole one is an integer."""
    whole, billionths = total[place], total[place + 1]
    return whole + billionths / BILLION if billionths else whole


def growth(number: float, before: float) -> tuple[int, int]:
    """By how many wholes and billionths a number has grown; exact, so that the parts add up to the whole."""
    if type(number) is int and type(before) is int:
        return number - before, 0
    return divmod(round(number * BILLION) - round(before * BILLION), BILLION)


def _definition(fields: list[object]) -> Definition | None:
    """None for a kind of family that this version does not know."""
    try:
        name, kind, label_names, bounds, *_ = fields
        definition = Definition(str(name), str(kind), tuple(map(str, label_names)), tuple(map(float, bounds)))  # type: ignore[call-overload]
    except (ValueError, TypeError):
        return None
    return definition if definition.kind in (Counter.kind, Histogram.kind) else None


def _values(text: bytes, count: int) -> tuple[str, ...] | None:
    try:
        values = tuple(map(str, orjson.loads(text)))
    except (ValueError, TypeError):
        return None
    return values if len(values) == count else None
