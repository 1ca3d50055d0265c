"""A table under random ticks, comings, goings and clocks equals a list of samples per series."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from ordinaut_ext_observability.history.series import NAME, STALE, Labels, is_stale
from ordinaut_ext_observability.history.table import Table

RETENTION_MS = 100_000
NAMES = ("a", "b", "c", "d")


def labels_of_name(name: str) -> Labels:
    return ((NAME, "even" if NAMES.index(name) % 2 == 0 else "odd"), ("series", name))


@dataclass(frozen=True)
class Equal:
    """A matcher of one value."""

    name: str
    equal_to: str

    def matches(self, value: str) -> bool:
        return value == self.equal_to


@dataclass
class Model:
    """Every sample there ever was, by series."""

    samples: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    times: list[int] = field(default_factory=list)
    live: set[str] = field(default_factory=set)

    def append(self, time_ms: int, values: dict[str, float]) -> None:
        for name in self.live - set(values):
            self.samples[name].append((time_ms, STALE))
        for name, value in values.items():
            self.samples.setdefault(name, []).append((time_ms, value))
        self.live = set(values)
        self.times.append(time_ms)

    def shift(self, by_ms: int) -> None:
        self.times = [time + by_ms for time in self.times]
        self.samples = {
            name: [(time + by_ms, value) for time, value in samples] for name, samples in self.samples.items()
        }

    def select(self, start_ms: int, end_ms: int) -> dict[str, list[tuple[int, bytes]]]:
        oldest = max(start_ms, self.times[-1] - RETENTION_MS) if self.times else 0
        found = {
            name: [(time, _bits(value)) for time, value in samples if oldest <= time <= end_ms]
            for name, samples in self.samples.items()
        }
        return {name: samples for name, samples in found.items() if samples}


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)


times = st.integers(1, 30).map(lambda seconds: seconds * 1000)
ticks = st.tuples(times, st.dictionaries(st.sampled_from(NAMES), st.floats(width=32)))
shifts = st.integers(-200, 0).map(lambda seconds: seconds * 1000)
everything = (-10 * RETENTION_MS, 20 * RETENTION_MS, None)
windows = st.one_of(
    st.just(everything),
    st.tuples(st.integers(-150_000, 50_000), st.integers(0, 200_000), st.sampled_from([None, "even", "odd"])),
)


@given(st.lists(st.one_of(ticks, ticks, ticks, shifts, windows), min_size=8, max_size=60))
def test_a_table_has_the_samples_of_the_retention_and_no_others(
    steps: list[tuple[int, dict[str, float]] | int | tuple[int, int, str | None]],
) -> None:
    table, model, now = Table(retention_ms=RETENTION_MS, max_series=len(NAMES)), Model(), 1_000_000
    for step in [*steps, everything]:
        if isinstance(step, int):
            now += step
            table.shift(step)
            model.shift(step)
        elif len(step) == 2:
            now += step[0]
            rows = [row for name in step[1] if (row := table.open(labels_of_name(name))) is not None]
            assert len(rows) == len(step[1])
            table.append(now, rows, array("d", step[1].values()))
            for _ in table.trim():
                pass
            model.append(now, step[1])
            assert table.sample_count == sum(len(row.samples[1]) for row in table._rows())
        else:
            start, end, name = now + step[0], now + step[0] + step[1], step[2]
            matchers = [Equal(NAME, name)] if name is not None else []
            series = [each for each in table.select(matchers, start, end) if each is not None]
            found = {
                dict(each.labels)["series"]: list(zip(each.timestamps, map(_bits, each.values), strict=True))
                for each in series
            }
            assert len(found) == len(series)
            assert found == {
                key: samples
                for key, samples in model.select(start, end).items()
                if name in (None, dict(labels_of_name(key))[NAME])
            }


@given(st.lists(st.sets(st.sampled_from(NAMES)), max_size=80), st.integers(1, 5))
def test_a_full_table_keeps_to_its_bounds_and_the_newest(present: list[set[str]], max_series: int) -> None:
    table = Table(retention_ms=10**9, max_series=max_series, max_ticks=10)
    for number, names in enumerate(present):
        opened = {name: table.open(labels_of_name(name)) for name in sorted(names)}
        rows = {name: row for name, row in opened.items() if row is not None}
        table.append(number, list(rows.values()), array("d", [float(number)] * len(rows)))
        for _ in table.trim():
            pass
        assert len(rows) >= min(len(names), max_series) - len(set(present[number - 1] if number else ()) - names)
        assert table.series_count <= max_series
        assert table.sample_count == sum(len(row.samples[1]) for row in table._rows()) <= max_series * (10 + 16)
        seen = [each for each in table.select([], number, number) if each is not None]
        assert {dict(each.labels)["series"] for each in seen if not is_stale(each.values[-1])} == set(rows)
        assert table.since_ms == max(0, number - 9)
