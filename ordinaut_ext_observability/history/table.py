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
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

from ordinaut_ext_observability.history.series import NAME, STALE, Labels, Matcher, Series, value_of

_AT_ONCE = 64  # series that are looked at without a pause: they take some tens of microseconds

_TRIMMED_EVERY = 16
"""Ticks after which all series get rid of what is too old: to move the rest each time would cost too much."""

_HOLE_BITS = 0x7FF8_0000_686F_6C65
_HOLE: float = struct.unpack("=d", struct.pack("=Q", _HOLE_BITS))[0]
"""Stands for no sample: a NaN that is neither the staleness marker nor what a computation makes."""


@dataclass(eq=False, slots=True)
class Row:
    """A series of a table."""

    labels: Labels
    samples: tuple[int, array[float]]
    """The number of the tick of the first value, and a value for each tick from there on."""
    has_holes: bool = False


class Table:
    """Series and their samples of a while, the newest where there is not room for all."""

    def __init__(self, *, retention_ms: int, max_series: int, max_ticks: int = sys.maxsize) -> None:
        """Samples older than the retention, in milliseconds before the newest, are dropped.

        So are ticks and series, the oldest first, where there are more than may be. Both bounds may be changed.
        """
        self._retention_ms = retention_ms
        self.max_series = max_series
        self.max_ticks = max_ticks
        self._ticks = (0, array("q"))
        """The number of the oldest tick, counted from the first there was, and the times of all that are kept."""
        self._trimmed = 0
        """Number of the tick before which nothing is kept."""
        self.sample_count = 0
        """Samples that take memory, 8 bytes each."""
        self._by_name: dict[str, dict[Labels, Row]] = {}
        self._written: Sequence[Row] = ()
        self._live: set[Row] = set()
        """Series of the last tick, and those that were opened for the next."""
        self._ended: dict[Row, None] = {}
        """The others, in the order of their ends."""

    @property
    def since_ms(self) -> int | None:
        """Time of the oldest tick; None before the first."""
        return next(iter(self._ticks[1]), None)

    @property
    def last_ms(self) -> int:
        """Time of the newest tick; 0 before the first."""
        return next(reversed(self._ticks[1]), 0)

    @property
    def series_count(self) -> int:
        """Series that are kept, those included that have ended."""
        return len(self._live) + len(self._ended)

    def has_any(self, names: Collection[str | None]) -> bool:
        """Tell whether there are series of one of these names."""
        return not self._by_name.keys().isdisjoint(names)

    def has_room(self) -> bool:
        """Tell whether a further series would be taken."""
        return self.series_count < self.max_series or bool(self._ended)

    def open(self, labels: Labels) -> Row | None:
        """The series with these labels, made when it is new; write it in the next tick.

        None where there is no room. Series that have ended make room first, the oldest first.
        """
        first_tick, times = self._ticks
        next_tick = first_tick + len(times)
        row = self._by_name.get(value_of(labels, NAME), {}).get(labels)
        if row is None:
            if self.series_count >= self.max_series and not self.drop_ended():
                return None
            row = Row(labels, (next_tick, array("d")))
            self._by_name.setdefault(value_of(labels, NAME), {})[labels] = row
        if row not in self._live:
            first, values = row.samples
            if (missing := next_tick - first - len(values)) > 0:
                row.has_holes = True  # first, so that whoever sees the holes knows
                values.extend([_HOLE] * missing)
                self.sample_count += missing
            self._ended.pop(row, None)
            self._live.add(row)
        return row

    def drop_ended(self) -> bool:
        """Drop the series that ended longest ago; False where none has ended."""
        for row in self._ended:
            self._drop(row)
            return True
        return False

    def append(self, time_ms: int, rows: Sequence[Row], values: Sequence[float]) -> None:
        """Write a tick: a value for each of these series, `STALE` for all that had one in the tick before.

        Its time, in milliseconds since 1970, is put after that of the tick before where it is not. Giving the same list
        of series again is the fastest. Raises ValueError where a series is there twice, or the numbers differ.
        """
        if len(rows) != len(values):
            raise ValueError(f"{len(rows)} series have {len(values)} values")
        first, times = self._ticks
        if rows is not self._written or len(rows) < len(self._live):
            self._come_and_go(rows)
        for row, value in zip(rows, values, strict=True):
            row.samples[1].append(value)
        self.sample_count += len(rows)
        times = times + array("q", [max(time_ms, times[-1] + 1) if times else time_ms])
        dropped = max(bisect_left(times, times[-1] - self._retention_ms), len(times) - max(1, self.max_ticks))
        self._ticks = (first + dropped, times[dropped:])

    def trim(self) -> Iterator[None]:
        """Free the memory of what is too old, some series at a step; does nothing most of the times."""
        oldest, _ = self._ticks
        if oldest < self._trimmed + _TRIMMED_EVERY:
            return
        self._trimmed = oldest
        for number, row in enumerate(self._rows(), 1):
            first, values = row.samples
            if row in self._ended and first + len(values) <= oldest:
                self._drop(row)
            elif first < oldest:
                row.samples = (oldest, values[oldest - first :])
                self.sample_count -= len(values) - len(row.samples[1])
            if number % _AT_ONCE == 0:
                yield

    def shift(self, by_ms: int) -> None:
        """Move all times, as when the clock was set."""
        first, times = self._ticks
        self._ticks = (first, array("q", [time + by_ms for time in times]))

    def select(self, matchers: Collection[Matcher], start_ms: int, end_ms: int) -> Iterator[Series | None]:
        """Select as `SampleSource` says, of the ticks that are there when it begins."""
        first, times = self._ticks
        low, high = bisect_left(times, start_ms), bisect_right(times, end_ms)
        if low >= high:
            return
        times = times[low:high]
        name = next((each for each in matchers if each.name == NAME and each.equal_to is not None), None)
        pairs = [(each.name, each.equal_to) for each in matchers if each.equal_to and each is not name]
        others = [each for each in matchers if not each.equal_to]
        for number, row in enumerate(self._rows(name.equal_to if name else None), 1):
            if _meets(row.labels, pairs, others):
                series = _cut(row, times, first + low)
                if series.values:
                    yield series
            if number % _AT_ONCE == 0:
                yield None

    def _rows(self, name: str | None = None) -> list[Row]:
        """The series, all or those of this name."""
        found = list(self._by_name.values()) if name is None else [self._by_name.get(name, {})]
        return [row for of_name in found for row in list(of_name.values())]

    def _come_and_go(self, rows: Sequence[Row]) -> None:
        """Take up the series that were opened for this tick, and end those that are missing from it."""
        now = set(rows)
        if len(now) < len(rows):
            raise ValueError("a series stands twice in one tick")
        for row in set(self._written) - now:
            row.samples[1].append(STALE)
            self.sample_count += 1
        self._ended.update(dict.fromkeys(self._live - now))
        self._written, self._live = rows, now

    def _drop(self, row: Row) -> None:
        del self._ended[row]
        self.sample_count -= len(row.samples[1])
        row.samples = (0, array("d"))  # a trim under way may have it still: it is not to count it again
        name = value_of(row.labels, NAME)
        del self._by_name[name][row.labels]
        if not self._by_name[name]:
            del self._by_name[name]


def _meets(labels: Labels, pairs: Collection[object], others: Collection[Matcher]) -> bool:
    """Tell whether there are all these labels, and the others meet their conditions. Many rows are asked, few meet."""
    for pair in pairs:
        if pair not in labels:
            return False
    for matcher in others:  # noqa: SIM110 - a third faster than a generator
        if not matcher.matches(value_of(labels, matcher.name)):
            return False
    return True


def _cut(row: Row, times: array[int], start: int) -> Series:
    """The samples of a series at these times, which are those of the ticks from `start` on."""
    first, values = row.samples
    values = values[max(start - first, 0) : max(start + len(times) - first, 0)]
    if len(values) < len(times):  # it began later, or ended before
        missing = max(first - start, 0)
        times = times[missing : missing + len(values)]
    if row.has_holes:
        is_sample = [bits != _HOLE_BITS for bits in memoryview(values).cast("B").cast("Q")]
        times, values = array("q", compress(times, is_sample)), array("d", compress(values, is_sample))
    return Series(row.labels, times, values)
