"""One process's side of the total: the deltas it adds, each once."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from ordinaut_ext_observability.cluster.base import Put
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.snapshot import FamilyLayout, SnapshotReader, counting
from ordinaut_ext_observability.relay.series_list import SeriesKey, SeriesList, encode_series, growth
from ordinaut_ext_observability.relay.store import Outcome, Publication, RelayStore

_DELTAS_AT_ONCE = 5_000
"""Deltas of one publication: what a server adds in a few milliseconds, and others wait for no longer."""

_SERIES_AT_ONCE = 2_000
"""Series appended in one step, for the same reason."""

_ATTEMPTS = 30
"""How often series are appended while other processes append theirs; each attempt fails since another one succeeded."""

_LARGEST_STEP = 2**62
"""A number that grows by more in one interval is none: the total has 64 bits."""

_COMPARED_AT_ONCE = 64
"""Numbers compared as lists, most of which are the same, before they are compared one by one."""


class Row(NamedTuple):
    """One series of this process."""

    key: SeriesKey
    start: int
    """Where its numbers begin among all of this process."""
    end: int
    place: int = -1
    """Where they begin in the total; -1 while that is not known."""


class Acknowledged(NamedTuple):
    """What the total has of a process."""

    rows: list[Row]
    numbers: list[float]


class _Waiting(NamedTuple):
    """A publication that the store has not acknowledged."""

    publication: Publication
    before: dict[int, float]
    """By position of a number, what had been handed over before."""


class Publisher:
    """Adds what this process counted to the total.

    What the store has not acknowledged is sent again, unchanged and under its number. A publisher that was forgotten,
    or whose store lost its contents, begins anew under another id. It drops what it had sent without hearing an answer,
    since that may have been added, and goes on with what it counted after that.
    """

    def __init__(self, families: Callable[[], Iterable[AnyFamily]], on_senseless: Callable[[], None]) -> None:
        """`on_senseless` is told of each number that is left out: it is not finite, or below zero."""
        self._reader = SnapshotReader(lambda: counting(families()))
        self._on_senseless = on_senseless
        self._layout: tuple[FamilyLayout, ...] = ()
        self._rows: list[Row] = []
        self._placed_in = ""
        """The store in which all rows have their places."""
        self._handed_over: list[float] = []
        """The numbers as of the newest publication, acknowledged or not."""
        self._left_out: set[int] = set()
        """Positions of numbers that make no sense, each counted once."""
        self._waiting: deque[_Waiting] = deque()
        self._in_doubt = False
        """Set while it is not known of the first that waits whether the store has added it."""
        self._begin()

    def _begin(self) -> None:
        self.id = os.urandom(16).hex()
        self.store = ""
        """The identity of the store that knows this publisher; empty before it joined."""
        self._sequence = 0

    @property
    def waiting_count(self) -> int:
        """Publications that the store has not acknowledged."""
        return len(self._waiting)

    def skip(self) -> None:
        """Leave out what was counted until now and is not in the total: others have it, such as a forked parent."""
        self._waiting.clear()
        self._in_doubt = False
        self._begin()
        snapshot = self._reader.read()
        self._lay_out(snapshot.layout)
        self._handed_over = list(snapshot.values)

    def begin_anew(self) -> None:
        """Take another id: the store forgot this one, or everything, or will."""
        if self._in_doubt:
            self._waiting.popleft()
            self._in_doubt = False
        self._handed_over = self.acknowledged().numbers
        self._waiting.clear()
        self._begin()

    def acknowledged(self) -> Acknowledged:
        """What the total has of this process."""
        numbers = list(self._handed_over)
        for waiting in reversed(self._waiting):
            for position, number in waiting.before.items():
                numbers[position] = number
        return Acknowledged(self._rows, numbers)

    def publish(self, store: RelayStore, series: SeriesList, put: Put | None = None) -> Outcome:
        """Add what was counted since; with `put`, all of it and the document in one step.

        Where the outcome is none of success, nothing was added and another try may do.

        Raises:
            ClusterUnavailableError: the store does not answer; it may have added the first of what waits.
        """
        outcome = self.resend(store)
        if outcome is Outcome.ADDED:
            if not self.store:
                self.store = store.join(self.id)
            if series.store != self.store:
                read_series(store, series)
            if series.store != self.store or not self._prepare(store, series, put):
                self.begin_anew()
                return Outcome.REPLACED
            outcome = self.resend(store)
        return outcome

    def resend(self, store: RelayStore) -> Outcome:
        """Send what waits. Where one is refused, all is prepared anew with the next publication."""
        while self._waiting:
            in_doubt, self._in_doubt = self._in_doubt, True
            outcome = store.publish(self.store, self._waiting[0].publication)
            if outcome is not Outcome.ADDED:
                self._in_doubt = in_doubt  # this time nothing was added; of an earlier time that is not known
                if outcome is Outcome.OUTDATED:
                    self._in_doubt = False  # its number was not used, so no earlier try was added either
                self.begin_anew()
                return outcome
            self._waiting.popleft()
            self._in_doubt = False
        return Outcome.ADDED

    def _prepare(self, store: RelayStore, series: SeriesList, put: Put | None) -> bool:
        """Have wait what was counted since; False where the series cannot be placed."""
        snapshot = self._reader.read()
        if snapshot.layout is not self._layout:
            self._lay_out(snapshot.layout)
        if self._placed_in != series.store and not self._place_rows(store, series):
            return False
        values, handed = snapshot.values, self._handed_over
        deltas: dict[int, int] = {}
        before: dict[int, float] = {}
        for row, positions in _by_row(self._rows, _changed(values, handed)):
            restarted = _restarted(row, values, handed)
            for position in positions:
                if self._add_delta(deltas, row, position, values[position], 0 if restarted else handed[position]):
                    before[position], handed[position] = handed[position], values[position]
            if len(deltas) >= _DELTAS_AT_ONCE and put is None:
                self._wait(deltas, before)
                deltas, before = {}, {}
        if deltas or put is not None:
            self._wait(deltas, before, put)
        return True

    def _wait(self, deltas: dict[int, int], before: dict[int, float], put: Put | None = None) -> None:
        self._sequence += 1
        self._waiting.append(_Waiting(Publication(self.id, self._sequence, deltas, put), before))

    def _add_delta(self, deltas: dict[int, int], row: Row, position: int, now: float, then: float) -> bool:
        """Note by how much a number has grown; False for one that makes no sense."""
        number = position - row.start
        is_sum = number == 0 and row.key[0].numbers > 1
        grown = now - then
        # The sum of a histogram may fall: what is observed may be below zero.
        if not -_LARGEST_STEP < grown < _LARGEST_STEP or (grown < 0 and not is_sum):
            if position not in self._left_out:
                self._left_out.add(position)
                self._on_senseless()
            return False
        if number:
            parts = {row.place + number + 1: int(grown)}
        else:
            parts = dict(zip((row.place, row.place + 1), growth(now, then), strict=True))
        for place, delta in parts.items():
            if delta:
                deltas[place] = deltas.get(place, 0) + delta
        return True

    def _lay_out(self, layout: tuple[FamilyLayout, ...]) -> None:
        """Take over the series that there are now; those that were there keep what was handed over of them."""
        known = {row.key: self._handed_over[row.start : row.end] for row in self._rows}
        self._rows = list(rows_of(layout))
        self._handed_over = [
            number for row in self._rows for number in known.get(row.key) or [0] * (row.end - row.start)
        ]
        self._layout, self._placed_in = layout, ""
        self._left_out.clear()

    def _place_rows(self, store: RelayStore, series: SeriesList) -> bool:
        """Find the places of all rows in the total; series that are new get theirs at its end.

        False where the store was replaced meanwhile, or other processes add series without end.
        """
        rows = self._rows
        for index, row in enumerate(rows):
            rows[index] = row._replace(place=_place(series, row.key))
        left = [index for index, row in enumerate(rows) if row.place < 0]
        for first in range(0, len(left), _SERIES_AT_ONCE):
            if not self._append(store, series, left[first : first + _SERIES_AT_ONCE]):
                return False
        self._placed_in = series.store
        return True

    def _append(self, store: RelayStore, series: SeriesList, left: list[int]) -> bool:
        rows = self._rows
        for _ in range(_ATTEMPTS):
            new = dict.fromkeys(series.admit(rows[index].key) for index in left)
            missing = [encode_series(key) for key in new if series.place(key) is None]
            if missing and not store.append(series.store, series.length, missing):
                series.discard_admissions()
            read_series(store, series)
            if series.store != self.store:
                return False
            for index in left:
                rows[index] = rows[index]._replace(place=_place(series, rows[index].key))
            left = [index for index in left if rows[index].place < 0]
            if not left:
                return True
        return False


def rows_of(layout: Iterable[FamilyLayout]) -> Iterator[Row]:
    """The series of a layout, one after the other."""
    start = 0
    for definition, series in layout:
        width = definition.numbers
        for label_values in series:
            yield Row((definition, label_values), start, start + width)
            start += width


def read_series(store: RelayStore, series: SeriesList) -> None:
    """Learn the series that came since."""
    reading = store.read(series.store, series.length)
    series.update(reading.store, reading.series)


def _place(series: SeriesList, key: SeriesKey) -> int:
    """The place of a series, or of the one under which it is counted past a budget; -1 where there is none yet."""
    place = series.place(key)
    if place is None:
        place = series.place(series.admit(key))
    return -1 if place is None else place


def _changed(values: list[float], before: list[float]) -> Iterator[int]:
    """Where the two differ."""
    for start in range(0, len(values), _COMPARED_AT_ONCE):
        mine, other = values[start : start + _COMPARED_AT_ONCE], before[start : start + _COMPARED_AT_ONCE]
        if mine != other:
            yield from (start + index for index, number in enumerate(mine) if number != other[index])


def _by_row(rows: list[Row], positions: Iterable[int]) -> Iterator[tuple[Row, list[int]]]:
    """The rows in which these numbers are, each with its numbers."""
    row: Row | None = None
    gathered: list[int] = []
    for position in positions:
        if row is None or position >= row.end:
            if row is not None:
                yield row, gathered
            row, gathered = rows[bisect_right(rows, position, key=_start) - 1], []
        gathered.append(position)
    if row is not None:
        yield row, gathered


_start = attrgetter("start")


def _restarted(row: Row, values: list[float], before: list[float]) -> bool:
    """Tell a series that was removed and began again: a counter, or the count of a bucket, never falls otherwise."""
    first = row.start if row.end - row.start == 1 else row.start + 1
    return any(values[position] < before[position] for position in range(first, row.end))
