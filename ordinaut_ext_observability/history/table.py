"""Series that are read at the same moments: one list of times, and per series an array of numbers beside it.

One thread writes. Any thread may read meanwhile, without a lock: a tick can be seen once all its numbers are there::

    table = Table(retention_ms=3_600_000, max_series=20_000)
    row = table.open((("__name__", "up"),))
    table.append(15_000, [row], array("d", [1.0]))
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ordinaut_ext_observability.history.series import NAME, STALE, Labels, Matcher, Series

_LOOKED_AT = 64
"""Series that are looked at without a pause: they take some tens of microseconds."""

_TRIMMED_EVERY = 16
"""Ticks in which every series gets rid once of what is too old: moving the rest each time would cost too much."""

_DOUBLE = struct.Struct("=d")
_HOLE_BYTES = struct.pack("=Q", 0x7FF8_0000_686F_6C65)
_HOLE: float = _DOUBLE.unpack(_HOLE_BYTES)[0]
"""Stands for no sample: a NaN that is neither the staleness marker nor what a computation makes."""

_NOTHING: array[float] = array("d")


class Row:
    """A series of a table."""

    __slots__ = ("ended_at", "has_holes", "labels", "samples")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.samples: tuple[int, array[float]] = (0, _NOTHING)
        """The number of the tick of the first value, and a value for each tick from there on."""
        self.has_holes = False
        self.ended_at = 0
        """Number of the tick with its end, while it is not written."""


class _Ticks(NamedTuple):
    """The ticks that are kept."""

    first: int
    """The number of the oldest; ticks are numbered from 0."""
    times: array[int]

    @property
    def end(self) -> int:
        """The number of the next tick."""
        return self.first + len(self.times)


class Table:
    """Series and their samples of a while, the newest where there is not room for all."""

    def __init__(self, *, retention_ms: int, max_series: int, max_ticks: int = sys.maxsize) -> None:
        """Samples older than the retention, in milliseconds before the newest, are dropped.

        So are ticks and series, the oldest first, where there are more than may be. Both bounds may be changed.
        """
        self._retention_ms = retention_ms
        self.max_series = max_series
        self.max_ticks = max_ticks
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self._ticks = _Ticks(0, array("q"))
        self._rows: OrderedDict[Row, None] = OrderedDict()
        """All series, those first that were trimmed longest ago."""
        self._by_name: dict[str, dict[Labels, Row]] = {}
        self._written: Sequence[Row] = ()
        self._live: set[Row] = set()
        self._opened: set[Row] = set()
        """Series that begin with the next tick."""
        self._idle: OrderedDict[Row, None] = OrderedDict()
        """Series that have ended, in the order of their ends."""

    @property
    def since_ms(self) -> int | None:
        """Time of the oldest tick; None before the first."""
        times = self._ticks.times
        return times[0] if times else None

    @property
    def last_ms(self) -> int | None:
        """Time of the newest tick; None before the first."""
        times = self._ticks.times
        return times[-1] if times else None

    @property
    def series_count(self) -> int:
        """Series that are kept, those included that have ended."""
        return len(self._rows)

    def count_samples(self) -> int:
        """Count the samples that take memory, 8 bytes each."""
        return sum(len(row.samples[1]) for row in list(self._rows))

    def has_room(self) -> bool:
        """Tell whether a further series would be taken."""
        return len(self._rows) < self.max_series or bool(self._idle)

    def find(self, labels: Labels) -> Row | None:
        """The series with these labels, or None."""
        return self._by_name.get(_name_of(labels), {}).get(labels)

    def open(self, labels: Labels) -> Row | None:
        """The series with these labels, made when it is new; write it in the next tick.

        None where there is no room. Series that have ended make room first, the oldest first.
        """
        row = self.find(labels)
        if row is None:
            if not self.has_room():
                return None
            if len(self._rows) >= self.max_series:
                self._drop(next(iter(self._idle)))
            row = self._by_name.setdefault(_name_of(labels), {})[labels] = Row(labels)
            self._rows[row] = None
        if row not in self._live:
            self._opened.add(row)
            self._idle.pop(row, None)
            self._bring_up_to_now(row)
        return row

    def append(self, time_ms: int, rows: Sequence[Row], values: Sequence[float]) -> None:
        """Write a tick: a value for each of these series, `STALE` for all that had one in the tick before.

        Its time, in milliseconds since 1970, must be after that of the tick before. Giving the same list of
        series again is the fastest. Raises ValueError where a series is there twice, or the numbers differ.
        """
        if len(rows) != len(values):
            raise ValueError(f"{len(rows)} series have {len(values)} values")
        ticks = self._ticks
        if rows is not self._written or self._opened:
            self._come_and_go(rows)
        for row, value in zip(rows, values, strict=True):
            row.samples[1].append(value)
        times = array("q", ticks.times)
        times.append(time_ms)
        dropped = max(bisect_left(times, time_ms - self._retention_ms), len(times) - max(1, self.max_ticks))
        self._ticks = _Ticks(ticks.first + dropped, times[dropped:])
        self._trim()

    def shift(self, by_ms: int) -> None:
        """Move all times, as when the clock was set."""
        first, times = self._ticks
        self._ticks = _Ticks(first, array("q", [time + by_ms for time in times]))

    def select(self, matchers: Collection[Matcher], start_ms: int, end_ms: int) -> Iterator[Series | None]:
        """As `SampleSource` says, of the ticks that are there when it begins."""
        ticks = self._ticks
        low, high = bisect_left(ticks.times, start_ms), bisect_right(ticks.times, end_ms)
        if low >= high:
            return
        times, start, end = ticks.times[low:high], ticks.first + low, ticks.first + high
        name = next((each for each in matchers if each.name == NAME and each.equal_to is not None), None)
        others = [matcher for matcher in matchers if matcher is not name]
        found = self._by_name.values() if name is None else [self._by_name.get(name.equal_to or "", {})]
        rows = [row for of_name in list(found) for row in list(of_name.values())]
        for number, row in enumerate(rows, 1):
            if not others or _meets(row.labels, others):
                series = _cut(row, times, start, end)
                if series is not None:
                    yield series
            if number % _LOOKED_AT == 0:
                yield None

    def _come_and_go(self, rows: Sequence[Row]) -> None:
        """Take up the series that were opened for this tick, and end those that are missing from it."""
        live = set(rows)
        if len(live) < len(rows):
            raise ValueError("a series stands twice in one tick")
        for row in self._live - live:
            row.samples[1].append(STALE)
        for row in (self._live | self._opened) - live:
            row.ended_at = self._ticks.end
            self._idle[row] = None
        self._written, self._live, self._opened = rows, live, set()

    def _bring_up_to_now(self, row: Row) -> None:
        """Have the next value of a series be that of the next tick."""
        ticks, (first, values) = self._ticks, row.samples
        if first + len(values) <= ticks.first:  # it is new, or nothing of it is kept any more
            row.samples = (ticks.end, array("d"))
        elif (missing := ticks.end - first - len(values)) > 0:
            row.has_holes = True  # first, so that whoever sees the holes knows
            values.extend([_HOLE] * missing)

    def _trim(self) -> None:
        """Drop some of the series that ended before the oldest tick, and old values of some of the others."""
        oldest = self._ticks.first
        for _ in range(-(-len(self._rows) // _TRIMMED_EVERY)):
            if self._idle and (idle := next(iter(self._idle))).ended_at < oldest:
                self._drop(idle)
            if self._rows:
                row = next(iter(self._rows))
                first, values = row.samples
                if first < oldest:
                    row.samples = (oldest, values[oldest - first :])
                self._rows.move_to_end(row)

    def _drop(self, row: Row) -> None:
        del self._idle[row], self._rows[row]
        name = _name_of(row.labels)
        del self._by_name[name][row.labels]
        if not self._by_name[name]:
            del self._by_name[name]


def _name_of(labels: Labels) -> str:
    return next((value for name, value in labels if name == NAME), "")


def _meets(labels: Labels, matchers: Collection[Matcher]) -> bool:
    values = dict(labels)
    return all(matcher.matches(values.get(matcher.name, "")) for matcher in matchers)


def _cut(row: Row, times: array[int], start: int, end: int) -> Series | None:
    """The samples of a series from one tick to before another, whose times these are; None where there is none."""
    first, values = row.samples
    if first >= end:
        return None
    cut = values[start - first : end - first] if first <= start else values[: end - first]
    if len(cut) < end - start:  # it began later, or ended before
        missing = max(first - start, 0)
        times = times[missing : missing + len(cut)]
    if row.has_holes:
        kept = [place for place, value in enumerate(cut) if _DOUBLE.pack(value) != _HOLE_BYTES]
        if len(kept) < len(cut):
            times, cut = array("q", [times[place] for place in kept]), array("d", [cut[place] for place in kept])
    return Series(row.labels, times, cut) if cut else None
