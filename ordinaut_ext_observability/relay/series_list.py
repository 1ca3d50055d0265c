"""The series list: which series the total has, and where in it their numbers are.

A series is one line, `[width, name, kind, label names, bounds]` and below it its label values, both as JSON. Its place
follows from the widths of those before it, so a line that a newer version wrote is passed over, not misread. A counter,
as the sum of a histogram, takes two places, whole and billionths, so that additions are exact in any order; a bucket
takes one.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from contextlib import suppress

import orjson

from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.metrics.budget import LabelBudgets, LabelGuard
from ordinaut_ext_observability.metrics.family import Counter, Histogram
from ordinaut_ext_observability.metrics.snapshot import Definition, Row, SeriesKey
from ordinaut_ext_observability.relay.store import Reading, RelayStore

BILLION = 1_000_000_000


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
        self.series: list[Row] = []
        """With the places of their numbers in the total."""
        self._places: dict[SeriesKey, int] = {}
        self._by_definition: defaultdict[Definition, list[tuple[str, ...]]] = defaultdict(list)
        self._guards: dict[Definition, LabelGuard] = {}
        self._heads: dict[bytes, tuple[int, Definition | None]] = {}

    def read(self, store: RelayStore) -> Reading:
        """Read the store, and learn the series after those that are known; or all, where it is another store.

        A line that cannot be read makes the store one that cannot be used.
        """
        reading = store.read(self.store, self.length)
        if reading.store != self.store:
            self._begin(reading.store)
        for line in reading.series:
            head, _, text = line.partition(b"\n")
            if head not in self._heads:
                self._heads[head] = _read_head(head)
            width, definition = self._heads[head]
            values = _read_values(text, definition)
            if definition is not None and values is not None:
                self.series.append(Row((definition, values), self.size, self.size + width))
                self._places.setdefault((definition, values), self.size)
                self._by_definition[definition].append(values)
                if definition in self._guards:
                    self._guards[definition].note(values)
            self.size += width
            self.length += 1
        return reading

    def discard_admissions(self) -> None:
        """Go back to what was read: what was admitted since was not appended, another process came first."""
        self._guards.clear()

    def find(self, key: SeriesKey) -> tuple[SeriesKey, int | None]:
        """The series under which one is counted, `__other__` past a label's budget, and its place, if it has one."""
        place = self._places.get(key)
        if place is not None:
            return key, place
        definition, values = key
        present = self._by_definition[definition]
        guard = self._guards.get(definition)
        if guard is None:
            guard = self._guards[definition] = LabelGuard(definition.label_names, self._budgets, lambda _label: None)
            for known in present:
                guard.note(known)
        admitted = definition, guard.admit(values, len(present))
        return admitted, self._places.get(admitted)


def encode_series(key: SeriesKey) -> bytes:
    """The line of a series."""
    definition, values = key
    return orjson.dumps([definition.numbers + 1, *definition]) + b"\n" + orjson.dumps(values)


def number_at(total: array[int], place: int) -> float:
    """The counter or sum at this place; a whole one is an integer."""
    whole, billionths = total[place], total[place + 1]
    return whole + billionths / BILLION if billionths else whole


def growth(number: float, before: float) -> tuple[int, int]:
    """By how many wholes and billionths a number has grown; exact, so that the parts add up to the whole."""
    if type(number) is int and type(before) is int:
        return number - before, 0
    return divmod(round(number * BILLION) - round(before * BILLION), BILLION)


def _read_head(head: bytes) -> tuple[int, Definition | None]:
    """The width of a series, and its definition where this version knows such."""
    width, fields = None, []
    with suppress(ValueError, TypeError):
        width, *fields = orjson.loads(head)
    if type(width) is not int or width < 1:
        raise ClusterUnavailableError("the series list does not say how many places a series takes")
    with suppress(ValueError, TypeError):
        name, kind, label_names, bounds, *_ = fields
        definition = Definition(str(name), str(kind), tuple(map(str, label_names)), tuple(map(float, bounds)))
        if kind in (Counter.kind, Histogram.kind) and definition.numbers + 1 == width:
            return width, definition
    return width, None


def _read_values(text: bytes, definition: Definition | None) -> tuple[str, ...] | None:
    with suppress(ValueError, TypeError):
        values = tuple(map(str, orjson.loads(text)))
        return values if definition is not None and len(values) == len(definition.label_names) else None
    return None
