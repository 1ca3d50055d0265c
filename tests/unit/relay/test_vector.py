"""Vectors and totals as they are stored: round trips, damage, budgets, baselines."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ordinaut_ext_observability.metrics.budget import OVERFLOW_VALUE, LabelBudgets
from ordinaut_ext_observability.metrics.family import Counter, Gauge, Histogram
from ordinaut_ext_observability.relay.totals import Baseline, Totals, by_family
from ordinaut_ext_observability.relay.vector import (
    NO_NUMBERS,
    About,
    FamilyLayout,
    NumberReader,
    Numbers,
    VectorError,
    counting,
    decode,
    decode_layout,
    decode_values,
    encode,
    encode_layout,
    encode_values,
    measuring,
)

ABOUT = About(serves=True, ended=False, process=7)


def numbers_of(*families: Any) -> Numbers:
    return NumberReader(lambda: families).read()


def rows(numbers: Numbers) -> dict[tuple[str, tuple[str, ...]], list[float]]:
    return {
        (layout.name, series): row
        for layout, found in by_family(numbers)
        for series, row in zip(layout.series, found, strict=True)
    }


def jobs(**counts: int) -> Numbers:
    family = Counter("jobs_total", "", ("kind",))
    for kind, count in counts.items():
        family.labels(kind).inc(count)
    return numbers_of(family)


def test_a_vector_is_read_as_it_was_made() -> None:
    counter = Counter("jobs_total", "", ("kind",))
    for value in ("plain", "", 'qu"ote', "new\nline", "\u00fc\u4e2d\U0001f600", "\x00\x7f", "\udc80"):
        counter.labels(value).inc(2)
    histogram = Histogram("seconds", "", bounds=(0.5, 1.0))
    histogram.labels().observe(0.7)
    gauge = Gauge("load", "", ("cpu",))
    gauge.labels("0").set(-1.5)
    counts, gauges = numbers_of(counter, histogram), numbers_of(gauge)
    vector = decode(encode(ABOUT, counts, gauges), 3, 9)
    assert vector == (3, 9, ABOUT, counts, gauges)
    assert rows(vector.counts)["seconds", ()] == [0.7, 0, 1, 0]
    assert {series[0] for _, series in rows(vector.counts) if series} == {
        child.label_values[0] for child in counter.children()
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_becomes_nan(value: float) -> None:
    gauge = Gauge("load", "")
    gauge.labels().set(value)
    (read,) = decode(encode(ABOUT, NO_NUMBERS, numbers_of(gauge)), 1, 1).gauges.values
    assert math.isnan(read)


def test_a_counter_beyond_64_bits_does_not_stop_all_others() -> None:
    counter = Counter("jobs_total", "")
    counter.labels().inc(2**63)
    counter.labels().inc(2**63)
    counts = decode(encode(ABOUT, numbers_of(counter), NO_NUMBERS), 1, 1).counts
    assert counts.values == [2**64]


CONTENT = encode(ABOUT, jobs(a=1, b=2), NO_NUMBERS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n\n\n",
        CONTENT[:-5],
        CONTENT.replace(b"[1,2]", b"[1]"),
        CONTENT.replace(b"[1,2]", b"[1,2,3]"),
        CONTENT.replace(b"[1,2]", b'[1,"2"]'),
        CONTENT.replace(b"[1,2]", b"[1,true]"),
        CONTENT.replace(b"[1,2]", b"{}"),
        CONTENT.replace(b"[1,2]", b"12"),
        CONTENT.replace(b'["a"]', b'["a","b"]'),
        CONTENT.replace(b'["a"]', b"5"),
        CONTENT.replace(b"[true,false,7]", b"[]"),
        CONTENT.replace(b"[true,false,7]", b'[true,false,"x"]'),
        CONTENT.replace(b"[true,false,7]", b"null"),
        CONTENT.replace(b"jobs_total", b"\xff"),
        CONTENT.replace(b'[["jobs_total"', b'["jobs_total"'),
        CONTENT.replace(b'[["jobs_total"', b'{"jobs_total"'),
    ],
    ids=lambda content: repr(content)[:30],
)
def test_other_content_is_told(content: bytes) -> None:
    assert content != CONTENT
    with pytest.raises(VectorError):
        decode(content, 1, 1)


def test_layout_stays_the_same_object_while_no_series_comes() -> None:
    family = Counter("jobs_total", "", ("kind",))
    family.labels("a").inc()
    reader = NumberReader(lambda: [family])
    first = reader.read()
    family.labels("a").inc()
    second = reader.read()
    assert second.layout is first.layout
    assert (first.values, second.values) == ([1], [2])
    family.labels("b").inc()
    assert reader.read().layout != first.layout
    vector = decode(encode(ABOUT, first, NO_NUMBERS), 1, 1)
    assert decode(encode(ABOUT, second, NO_NUMBERS), 2, 2, like=vector).counts.layout is vector.counts.layout


def test_a_series_removed_and_another_made_is_another_layout() -> None:
    family = Gauge("load", "", ("cpu",))
    family.labels("0").set(1)
    reader = NumberReader(lambda: measuring([family]))
    before = reader.read()
    family.remove("0")
    family.labels("1").set(2)
    after = reader.read()
    assert after.layout != before.layout
    assert rows(after) == {("load", ("1",)): [2]}


def test_families_are_split_by_whether_they_only_grow() -> None:
    families = [Counter("a_total", ""), Gauge("b", ""), Histogram("c", "", bounds=(1.0,))]
    assert [family.name for family in counting(families)] == ["a_total", "c"]
    assert [family.name for family in measuring(families)] == ["b"]


def test_parts_that_cannot_be_read_are_told() -> None:
    for text in (b"", b"[", b'"x"', b'[["a"]]', b"[1]"):
        with pytest.raises(VectorError):
            decode_layout(text)
    with pytest.raises(VectorError):
        decode_values(b"nan")
    assert decode_values(encode_values([1, 2.5])) == [1, 2.5]


def test_totals_add_each_series() -> None:
    totals = Totals()
    totals.add(jobs(a=1, b=2))
    totals.add(jobs(b=3, c=4))
    assert rows(totals.numbers()) == {("jobs_total", (kind,)): [n] for kind, n in (("a", 1), ("b", 5), ("c", 4))}


def test_totals_past_the_budget_are_kept_as_other() -> None:
    totals = Totals(LabelBudgets(default=2))
    totals.add(jobs(a=1, b=2, c=4))
    totals.add(jobs(d=8, b=16))
    assert rows(totals.numbers()) == {
        ("jobs_total", ("a",)): [1],
        ("jobs_total", ("b",)): [18],
        ("jobs_total", (OVERFLOW_VALUE,)): [12],
    }


def test_totals_of_a_family_with_other_bounds_begin_anew() -> None:
    totals = Totals()
    for bounds in ((1.0,), (1.0, 2.0)):
        family = Histogram("seconds", "", bounds=bounds)
        family.labels().observe(1.5)
        totals.add(numbers_of(family))
    assert rows(totals.numbers()) == {("seconds", ()): [1.5, 0, 1, 0]}


def test_totals_do_not_take_what_does_not_fit() -> None:
    with pytest.raises(VectorError):
        Totals().add(jobs(a=1)._replace(values=[1, 2]))


def test_a_baseline_is_subtracted_also_when_series_came_later() -> None:
    family = Counter("jobs_total", "", ("kind",))
    histogram = Histogram("seconds", "", ("kind",), bounds=(1.0,))
    reader = NumberReader(lambda: [family, histogram])
    family.labels("a").inc(5)
    histogram.labels("a").observe(0.5)
    baseline = Baseline(reader.read())
    family.labels("a").inc(2)
    histogram.labels("a").observe(2.0)
    assert rows(baseline.subtract_from(reader.read())) == {("jobs_total", ("a",)): [2], ("seconds", ("a",)): [2, 0, 1]}
    family.labels("b").inc(3)
    histogram.labels("b").observe(0.25)
    since = rows(baseline.subtract_from(reader.read()))
    assert since["jobs_total", ("b",)] == [3]
    assert since["seconds", ("b",)] == [0.25, 1, 0]
    assert since["jobs_total", ("a",)] == [2]


def test_a_layout_is_read_as_it_was_made() -> None:
    layout = FamilyLayout("seconds", "histogram", ("kind",), (0.5, 1.0), (("a",), ("b\n",)))
    assert decode_layout(encode_layout([layout])) == [layout]
    assert layout.width == 4
