"""One process's side of the total: the deltas it adds, each once."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import lt

from ordinaut_ext_observability.cluster.base import Put
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.snapshot import Row, SeriesKey, SnapshotReader
from ordinaut_ext_observability.relay.series_list import SeriesList, encode_series, growth
from ordinaut_ext_observability.relay.store import Outcome, OwnEntry, Publication, RelayStore

_DELTAS_AT_ONCE = 5_000
"""Deltas of one publication: what a server adds in a few milliseconds, and others wait for no longer."""

_SERIES_AT_ONCE = 2_000
"""Series appended in one step, for the same reason."""

_LOST_RACES = 30
"""Number of times others may append their series first; each time fails since another process succeeded."""

_LARGEST_STEP = 2**62
"""A number that grows by more in one interval is none: the total has 64 bits."""

_ROWS_COMPARED_AT_ONCE = 32
"""Series compared together before they are compared one by one: most have not changed."""


class Publisher:
    """Adds what this process counted to the total.

    What the store has not acknowledged is sent again, unchanged and under its number. A publisher that was forgotten,
    or whose store lost its contents, begins anew under another id. It drops what it had sent without hearing an answer,
    since that may have been added, and goes on with what it counted after that.
    """

    def __init__(self, families: Callable[[], Iterable[AnyFamily]], on_senseless: Callable[[], None]) -> None:
        """`on_senseless` is told of each number that is left out: it is not finite, or below zero."""
        self._reader = SnapshotReader(families)
        self._on_senseless = on_senseless
        self._rows: list[Row] = []
        self._acknowledged: list[float] = []
        self._left_out: set[int] = set()
        """Positions of numbers that make no sense, each counted once."""
        self._begin()

    def _begin(self) -> None:
        self.id = os.urandom(16).hex()
        self.store = ""
        """The identity of the store that knows this publisher; empty before it joined."""
        self._places: list[int] = []
        """The first place in the total of each row; empty while they are not known."""
        self._sequence = 0
        self.waiting: tuple[Publication, dict[int, float]] | None = None
        """The publication not acknowledged yet; by position, what the total has of this process once it is added."""
        self._in_doubt = False
        """Set while it is not known of what waits whether the store has added it."""

    def skip(self) -> None:
        """Leave out what was counted until now and is not in the total: others have it, such as a forked parent."""
        self._begin()
        self._acknowledged = self._reader.read()
        self._rows = self._reader.rows
        self._left_out.clear()

    def begin_anew(self) -> None:
        """Take another id: the store forgot this one, or everything, or will."""
        if self._in_doubt:
            self._acknowledge()
        self._begin()

    def acknowledged(self) -> tuple[list[Row], list[float]]:
        """The series of this process, and the numbers that the total has of them."""
        return self._rows, list(self._acknowledged)

    def publish(
        self, store: RelayStore, series: SeriesList, put: Put | None = None, say: Callable[[], OwnEntry] | None = None
    ) -> Outcome:
        """Add what was counted since, and what is said; with `put`, all of it and the document in one step.

        Where the outcome is none of success, nothing was added and another try may do. Raises
        `ClusterUnavailableError` where the store does not answer; it may have added what waits.
        """
        if (outcome := self.resend(store)) is not Outcome.ADDED:
            return outcome
        if not self.store:
            self.store = store.join(self.id)
        if series.store != self.store:
            series.read(store)
        values = self._reader.read()
        said = say() if say is not None else None  # not before: it is not to be older than the counts beside it
        if self._reader.rows is not self._rows:
            self._lay_out()
        if not self._places:
            self._place_rows(store, series)
        if series.store != self.store or len(self._places) < len(self._rows):
            self.begin_anew()
            return Outcome.REPLACED
        for deltas, numbers in self._changes(values, _DELTAS_AT_ONCE if put is None else math.inf):
            if numbers or put is not None or said is not None:
                self._sequence += 1
                self.waiting = Publication(self.id, self._sequence, deltas, put, said), numbers
                said = None
                if (outcome := self.resend(store)) is not Outcome.ADDED:
                    break
        return outcome

    def resend(self, store: RelayStore) -> Outcome:
        """Send what waits. Where it is refused, all is prepared anew with the next publication."""
        if self.waiting is None:
            return Outcome.ADDED
        in_doubt, self._in_doubt = self._in_doubt, True
        outcome = store.publish(self.store, self.waiting[0])
        if outcome is Outcome.ADDED:
            self._acknowledge()
        else:
            # Nothing was added this time, but perhaps at an earlier try; not if the number was found to be unused.
            self._in_doubt = in_doubt and outcome is not Outcome.OUTDATED
            self.begin_anew()
        return outcome

    def _acknowledge(self) -> None:
        for position, number in self.waiting[1].items() if self.waiting is not None else ():
            self._acknowledged[position] = number
        self.waiting, self._in_doubt = None, False

    def _changes(self, values: list[float], at_once: float) -> Iterator[tuple[dict[int, int], dict[int, float]]]:
        """Deltas by their places, and the numbers that they lead to, in portions."""
        deltas: defaultdict[int, int] = defaultdict(int)
        numbers: dict[int, float] = {}
        for row, first, now, then in self._changed_rows(values):
            for number, (one, known, begun) in enumerate(zip(now, then, beginning(now, then), strict=True)):
                if one == known or not self._makes_sense(row, number, one - begun):
                    continue
                numbers[row.start + number] = one
                for place, delta in enumerate(growth(one, begun), first + number + (number > 0)):
                    if delta:
                        deltas[place] += delta
            if len(deltas) >= at_once:
                yield deltas, numbers
                deltas, numbers = defaultdict(int), {}
        yield deltas, numbers

    def _changed_rows(self, values: list[float]) -> Iterator[tuple[Row, int, list[float], list[float]]]:
        """The rows whose numbers changed: the first place of each, its numbers now and those that the total has."""
        rows, known = self._rows, self._acknowledged
        for first in range(0, len(rows), _ROWS_COMPARED_AT_ONCE):
            block = rows[first : first + _ROWS_COMPARED_AT_ONCE]
            if values[block[0].start : block[-1].end] != known[block[0].start : block[-1].end]:
                for row, place in zip(block, self._places[first:], strict=False):
                    now, then = values[row.start : row.end], known[row.start : row.end]
                    if now != then:
                        yield row, place, now, then

    def _makes_sense(self, row: Row, number: int, grown: float) -> bool:
        # The sum of a histogram may fall: what is observed may be below zero.
        may_fall = number == 0 and row.end - row.start > 1
        if (-_LARGEST_STEP if may_fall else 0) <= grown < _LARGEST_STEP:
            return True
        if row.start + number not in self._left_out:
            self._left_out.add(row.start + number)
            self._on_senseless()
        return False

    def _lay_out(self) -> None:
        """Take over the series that there are now; of those that were there the same is acknowledged."""
        known = {row.key: self._acknowledged[row.start : row.end] for row in self._rows}
        self._rows, self._places = self._reader.rows, []
        self._acknowledged = [
            number for row in self._rows for number in known.get(row.key) or [0] * (row.end - row.start)
        ]
        self._left_out.clear()

    def _place_rows(self, store: RelayStore, series: SeriesList) -> None:
        """Find the places of all rows in the total; series that are new get theirs at its end.

        Given up where the store was replaced meanwhile, or other processes add series without end.
        """
        lost_races = 0
        places: dict[SeriesKey, int] = {}
        while lost_races < _LOST_RACES and series.store == self.store:
            new: dict[SeriesKey, None] = {}
            for row in self._rows:
                if row.key not in places and len(new) < _SERIES_AT_ONCE:
                    key, place = series.find(row.key)
                    if place is None:
                        new[key] = None
                    else:
                        places[row.key] = place
            if not new:
                self._places = [places[row.key] for row in self._rows]
                return
            if not store.append(series.store, series.length, [encode_series(key) for key in new]):
                lost_races += 1
                series.discard_admissions()
            series.read(store)


def beginning(now: list[float], then: list[float]) -> list[float]:
    """The numbers that a series had, or zeros where it was removed since and began again.

    A counter, or the count of a bucket, never falls otherwise; the sum of a histogram may.
    """
    return [0] * len(now) if any(map(lt, now[1:] or now, then[1:] or then)) else then
