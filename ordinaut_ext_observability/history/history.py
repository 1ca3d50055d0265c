"""The history of one process: the metrics that it shows, of the last hour, and what rules record, of the last days.

A registry's families are read into it: the numbers that a scrape would show, without the text between.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from itertools import accumulate
from math import inf
from typing import Any

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.history.series import NAME, Labels, Matcher, Series
from ordinaut_ext_observability.history.table import Row, Table
from ordinaut_ext_observability.metrics.exposition import format_value
from ordinaut_ext_observability.metrics.family import AnyFamily, Histogram

MAX_SAMPLES = 10_000_000
"""Samples of metrics, 8 bytes each: 20,000 series of two hours. With more, the oldest are dropped sooner."""

RECORDED_RETENTION_MS = 3 * 24 * 3_600_000
"""Three days: the longest window of the usual rules on error budgets."""
MAX_RECORDED_SERIES = 500
MAX_RECORDED_SAMPLES = 2_200_000
"""500 series, each once a minute for three days: 18 MB. With more, the oldest are dropped sooner."""

_TOLERATED_SECONDS = 1.0  # a clock that is put right bit by bit stays within this between two looks

_SERIES_BYTES = 700  # memory of a series beside its samples, as measured with five labels

_LOOKED_UP = 8
"""Children whose series are looked up without a pause; with 14 series each it takes a third of a millisecond."""


class History:
    """Samples of the near past. One thread writes them; any thread may ask for them.

    ::

        time_ms = history.begin_tick()
        for _ in history.read(time_ms, registry.families()): ...
        for series in history.select([name_is_up], time_ms - 300_000, time_ms): ...
    """

    def __init__(self, clock: Clock, *, retention_seconds: float, max_series: int) -> None:
        """Both bounds are those of metrics; results of rules have their own."""
        self._clock = clock
        self._retention_ms = round(retention_seconds * 1000)
        self._max_series = max_series
        self.clear()

    def clear(self) -> None:
        """Begin with nothing, as in a forked child: it stays the same object, which others know."""
        self.table = Table(retention_ms=self._retention_ms, max_series=self._max_series)
        """The series of metrics."""
        self._recorded: dict[str, Table] = {}
        """The results of rules by group, whose series are evaluated at the same moments."""
        self._looked_at: tuple[float, float] | None = None
        self.shifted_ms = 0
        """Milliseconds, 0 or less, by which all samples were moved: whoever keeps other times moves them, too."""
        self.refused = 0
        """Series that the last tick of metrics had and the table no room for."""
        self._blocks: dict[int, tuple[list[Any], list[Row | None]]] = {}
        """Each block of children, by its identity, and the series of those it had, in the order of `_numbers`."""
        self._rows: list[Row] = []
        """The series of the last tick: the same list while none comes or goes."""

    @property
    def kept_since_ms(self) -> int | None:
        """Time of the oldest samples of metrics, None before the first: nothing is known of the time before."""
        return self.table.since_ms

    def since_ms(self, names: Collection[str | None]) -> int | None:
        """Time since when series of these names, None for any, are known: results of rules may be the older ones."""
        known = list(self._recorded.values())  # meanwhile the thread that writes may add one
        recorded = [table.since_ms or 0 for table in known if table.has_any(names)]
        only_recorded = recorded and None not in names and not self.table.has_any(names)
        return max(recorded) if only_recorded else self.kept_since_ms

    def begin_tick(self) -> int:
        """The time of a tick in milliseconds since 1970; where the clock was set back, all samples are moved with it.

        So none lies in the future, and what was a minute ago still is. A clock set forward leaves a gap.
        """
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        if self._looked_at is not None:
            jump = (wall - self._looked_at[0]) - (monotonic - self._looked_at[1])
            if jump < -_TOLERATED_SECONDS:
                for table in self._tables():
                    table.shift(round(jump * 1000))
                self.shifted_ms += round(jump * 1000)
        self._looked_at = (wall, monotonic)
        return round(wall * 1000)

    def read(self, time_ms: int, families: Iterable[AnyFamily]) -> Iterator[None]:
        """Read a tick of the metrics, a block of children at a step; it is there at the end.

        Other threads may be counting meanwhile: blocks get further children at their ends, or others take their place.
        """
        values, before = array("d"), self._blocks
        self._blocks = {}
        more_fit = self.refused > 0 and self.table.has_room()
        for family in families:
            blocks: list[list[Any]] = [*family.blocks]
            for block in blocks:
                children = block[:]
                _, rows = before.get(id(block), (block, []))
                if more_fit and None in rows:
                    rows = []
                yield from self._look_up(family, children, rows)
                self._blocks[id(block)] = block, rows
                values.extend(_numbers(family, children))
                yield
        found = [row for _, rows in self._blocks.values() for row in rows]
        self.refused = found.count(None)
        if self.refused:
            values = array("d", (value for row, value in zip(found, values, strict=True) if row is not None))
        taken = [row for row in found if row is not None]
        if taken != self._rows:
            self._rows = taken
        yield
        self.append(time_ms, self._rows, values)
        yield from self.trim()

    def append(self, time_ms: int, rows: Sequence[Row], values: Sequence[float]) -> None:
        """Write a tick of the metrics: `rows` of `table`, all that there are, and their values."""
        self.table.max_ticks = MAX_SAMPLES // max(1, self.table.series_count)
        self.table.append(time_ms, rows, values)

    def _look_up(self, family: AnyFamily, children: list[Any], rows: list[Row | None]) -> Iterator[None]:
        """Add the series of those children that have none there yet."""
        suffixes = _suffixes(family)
        for number, child in enumerate(children[len(rows) // len(suffixes) :], 1):
            pairs = [pair for pair in zip(family.label_names, child.label_values, strict=True) if pair[1]]
            rows += [self.table.open(tuple(sorted((*pairs, *suffix)))) for suffix in suffixes]
            if number % _LOOKED_UP == 0:
                yield

    def trim(self) -> Iterator[None]:
        """Free the memory of what is too old, a little at a step."""
        for group, table in list(self._recorded.items()):
            if table.last_ms < self.table.last_ms - RECORDED_RETENTION_MS:
                del self._recorded[group]
        for table in self._tables():
            yield from table.trim()

    def record(self, group: str, time_ms: int, results: Iterable[tuple[Labels, float]]) -> Generator[None, None, int]:
        """Write the results of a group of recording rules, all of one evaluation; series missing from it have ended.

        A group that is there no more ends with a last call without results. A step for each opens its series, the last
        writes all. Returns the number of those for which there was no room.
        """
        table = self._recorded.get(group) or Table(retention_ms=RECORDED_RETENTION_MS, max_series=0)
        held = self.series_count() - self.table.series_count
        table.max_series = MAX_RECORDED_SERIES - (held - table.series_count)
        table.max_ticks = MAX_RECORDED_SAMPLES // max(1, held)
        opened = []
        for labels, value in results:
            row = table.open(labels)
            if row is None and any(other.drop_ended() for other in self._recorded.values()):
                table.max_series += 1
                row = table.open(labels)
            opened.append((row, value))
            yield
        known = {row: value for row, value in opened if row is not None}
        # The clock may have been set back since the evaluation began.
        table.append(min(time_ms, self.table.last_ms or time_ms), list(known), array("d", known.values()))
        self._recorded[group] = table
        return sum(row is None for row, _ in opened)

    def select(self, matchers: Collection[Matcher], start_ms: int, end_ms: int) -> Iterator[Series | None]:
        """Select as `SampleSource` says. Of a series in several groups, as of a moved rule, the newest is given."""
        yield from self.table.select(matchers, start_ms, end_ms)
        found: dict[Labels, Series] = {}
        for table in list(self._recorded.values()):
            for series in table.select(matchers, start_ms, end_ms):
                if series is None:
                    yield None
                elif series.labels not in found or series.timestamps[-1] > found[series.labels].timestamps[-1]:
                    found[series.labels] = series
        yield from found.values()

    def series_count(self) -> int:
        """Count the series of metrics and rules, those included that have ended."""
        return sum(table.series_count for table in self._tables())

    def count_samples(self) -> int:
        """Count the samples of metrics and rules."""
        return sum(table.sample_count for table in self._tables())

    def estimate_bytes(self) -> int:
        """Estimate the memory that all of it takes."""
        return 8 * self.count_samples() + _SERIES_BYTES * self.series_count()

    def _tables(self) -> list[Table]:
        return [self.table, *self._recorded.values()]


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
