"""Properties of queries' answers that hold for any query and any samples."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from ordinaut_ext_observability.history.series import STALE, Series, labels_of
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.functions.samples import bucket_fraction, bucket_quantile
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query
from ordinaut_ext_observability.promql.functions.values import compensated, mean, quantile, total, variance
from tests.promql.run import run_to_end

VALUES = st.one_of(st.floats(width=32), st.integers(0, 100).map(float))
STEP = 15_000

VECTORS = st.recursive(
    st.sampled_from(["a", "b", 'a{n="1"}', "a offset 20s", "b @ 60", "a offset -30s", "rate(a[1m])", "delta(b[45s])"]),
    lambda inner: st.one_of(
        inner.map("sum by (n) ({})".format),
        inner.map("-({})".format),
        inner.map("abs({})".format),
        inner.map("max_over_time(({})[1m:15s])".format),
        inner.map("sum_over_time(({})[40s:10s] offset 5s)".format),
        inner.map("topk(1, {})".format),
        inner.map("timestamp({})".format),
        inner.map("absent({})".format),
        st.tuples(inner, st.sampled_from(["and", "or", "unless", "+ on (n)", "> on (n)"]), inner).map(
            lambda parts: f"(sum by (n) ({parts[0]})) {parts[1]} (sum by (n) ({parts[2]}))"
        ),
    ),
    max_leaves=4,
)


class Source:
    """Series that are cut to the time that is asked for: a sample that is not asked for is not there."""

    def __init__(self, series):
        self.series = series

    def select(self, matchers, start_ms, end_ms):
        for labels, points in self.series.items():
            values = dict(labels)
            kept = [(time, value) for time, value in points if start_ms <= time <= end_ms]
            if kept and all(matcher.matches(values.get(matcher.name, "")) for matcher in matchers):
                yield Series(labels, *map(list, zip(*kept, strict=True)))
            yield None


@st.composite
def sources(draw):
    series = {}
    for name, number in (("a", "1"), ("a", "2"), ("b", "1")):
        gaps = draw(st.lists(st.integers(1, 60_000), max_size=12))
        times = [sum(gaps[: index + 1]) for index in range(len(gaps))]
        points = [(time, draw(st.one_of(VALUES, st.just(STALE)))) for time in times]
        series[labels_of({"__name__": name, "n": number})] = points
    return Source(series)


def values_of(answer, time):
    found = {}
    for one in answer.value:
        value = one.value if answer.type == "vector" else dict(zip(one.timestamps, one.values, strict=True)).get(time)
        if value is not None:
            found[one.labels] = "NaN" if math.isnan(value) else value
    return found


@given(VECTORS, sources(), st.integers(0, 200_000))
def test_a_range_has_at_each_step_what_an_instant_query_has(text, source, start):
    query = Query(parse(text), start, start + 4 * STEP, STEP)
    ranges = run_to_end(evaluate(query, source, Limits()))
    for time in range(start, start + 4 * STEP + 1, STEP):
        instant = run_to_end(evaluate(Query(query.expression, time, time), source, Limits()))
        assert values_of(ranges, time) == values_of(instant, time)


@given(st.lists(st.one_of(st.sampled_from([1e100, -1e100, 1.0, 0.1, 1e-20, math.inf]), st.floats(allow_nan=False))))
@example([1.0, 1e100, 1.0, -1e100])
def test_both_compensated_sums_are_one(values):
    ours, builtin = compensated(values), total(values)
    assert ours == builtin or (math.isnan(ours) and math.isnan(builtin))


@given(st.lists(st.floats(-1e300, 1e300), min_size=1))
def test_a_mean_lies_between_the_extremes_and_equal_values_have_no_variance(values):
    allowed = 1e-9 * max(map(abs, values))
    assert min(values) - allowed <= mean(values) <= max(values) + allowed
    assert variance([values[0]] * len(values)) == 0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_has_no_smaller_quantile(values, one, other):
    lower, upper = sorted((one, other))
    assert quantile(lower, values) <= quantile(upper, values) + 1e-6


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.floats(0.01, 0.99))
def test_the_share_of_a_histogram_below_a_quantile_is_that_quantile_s(counts, share):
    bounds = [*map(float, range(1, len(counts))), math.inf]
    buckets = [(bound, float(sum(counts[: index + 1]))) for index, bound in enumerate(bounds)]
    value = bucket_quantile(buckets, share)
    if math.isnan(value):
        assert sum(counts) == 0
    elif value < bounds[-2]:
        assert math.isclose(bucket_fraction(buckets, 0, value), share, abs_tol=1e-9)
