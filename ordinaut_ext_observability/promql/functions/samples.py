"""Functions of the samples in a range: what they come to, and how they change; and of classic histograms.

Those are cumulative counts by upper bound. Values within a bucket are taken as spread evenly; the first begins at
zero, if its bound is above.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels, value_of
from ordinaut_ext_observability.promql.functions.values import STATISTICS, Statistic, divide, quantile, regression
from ordinaut_ext_observability.promql.labels import drop_name, with_value
from ordinaut_ext_observability.promql.nodes import Call
from ordinaut_ext_observability.promql.query import Parts, pieces, unique
from ordinaut_ext_observability.promql.selecting import Window

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

RangeFunction = Callable[[Sequence[int], Sequence[float], Window], float | None]
"""A function of the samples' times and values, at least one; None where it has no result."""

_SPACING_TOLERANCE: Final = 1.1
"""Mean distances of samples that the first or last may lie from the range's border, to be taken as going on beyond."""

Buckets = list[tuple[float, float]]
"""Upper bounds and the counts of observations up to there."""

_ROUNDING: Final = 1e-12
"""Relative difference of two counts that is no difference: sums of rates are that inexact. Prometheus's own value."""


def _extrapolated(
    times: Sequence[int], values: Sequence[float], window: Window, *, counter: bool, per_seconds: float = 1.0
) -> float | None:
    """The change over the whole range, from that between its first and last sample.

    Samples that begin or end near a border are taken as going on to it, others for half their mean distance more; a
    counter not to below zero. It is what Prometheus does; see `extrapolatedRate` in its `promql/functions.go`.
    """
    last = len(times) - 1
    sampled = (times[last] - times[0]) / 1_000
    if not sampled:
        return None
    first_value = values[0]
    change = values[last] - first_value
    if counter:
        previous = first_value
        for value in values:
            if value < previous:
                change += previous
            previous = value
    to_start = (times[0] - window.start_ms) / 1_000
    to_end = (window.end_ms - times[last]) / 1_000
    spacing = sampled / last
    threshold = spacing * _SPACING_TOLERANCE
    if to_start >= threshold:
        to_start = spacing / 2
    if counter and change > 0 and first_value >= 0:
        to_start = min(to_start, sampled * (first_value / change))
    if to_end >= threshold:
        to_end = spacing / 2
    return change * ((sampled + to_start + to_end) / sampled / per_seconds)


def _irate(times: Sequence[int], values: Sequence[float], _window: Window) -> float | None:
    """A counter's growth per second between the last two samples."""
    if len(times) < 2 or times[-1] == times[-2]:
        return None
    growth = values[-1] if values[-1] < values[-2] else values[-1] - values[-2]
    return growth / ((times[-1] - times[-2]) / 1_000)


def _predict_linear(times: Sequence[int], values: Sequence[float], window: Window) -> float | None:
    """A gauge's value in so many seconds, by linear regression."""
    if len(times) < 2:
        return None
    slope, now = regression(times, values, window.time_ms)
    return slope * window.parameters[0] + now


def _of_values(function: Statistic) -> RangeFunction:
    return lambda _times, values, _window: function(values)


RANGE_FUNCTIONS: Final[dict[str, RangeFunction]] = {
    **{f"{name}_over_time": _of_values(function) for name, function in STATISTICS.items()},
    "absent_over_time": _of_values(lambda _: 1.0),
    "last_over_time": _of_values(lambda values: values[-1]),
    "present_over_time": _of_values(lambda _: 1.0),
    "quantile_over_time": lambda _times, values, window: quantile(window.parameters[0], values),
    "changes": _of_values(
        lambda values: float(sum(b != a and (a == a or b == b) for a, b in pairwise(values)))  # noqa: PLR0124 - NaNs
    ),
    "delta": partial(_extrapolated, counter=False),
    "deriv": lambda times, values, _window: regression(times, values, times[0])[0] if len(times) > 1 else None,
    "idelta": lambda _times, values, _window: values[-1] - values[-2] if len(values) > 1 else None,
    "increase": partial(_extrapolated, counter=True),
    "irate": _irate,
    "predict_linear": _predict_linear,
    "rate": lambda times, values, window: _extrapolated(
        times, values, window, counter=True, per_seconds=window.seconds
    ),
    "resets": _of_values(lambda values: float(sum(b < a for a, b in pairwise(values)))),
}


def histogram(evaluator: Evaluator, call: Call, time: int) -> Parts:
    """`histogram_quantile(share, buckets)` and `histogram_fraction(lower, upper, buckets)`."""
    numbers = yield from evaluator.scalars(call, time)
    compute = bucket_quantile if call.function == "histogram_quantile" else bucket_fraction
    bounds = evaluator.remembered(call, _bound)
    histograms: defaultdict[Labels, Buckets] = defaultdict(list)
    for part in evaluator.parts(call.arguments[-1], time):
        for labels, count in part:
            found = bounds(labels)
            if found is not None:
                histograms[found[0]].append((found[1], count))
        yield ()
    yield from unique(
        [(drop_name(labels), compute(buckets, *numbers)) for labels, buckets in piece]
        for piece in pieces(list(histograms.items()))
    )


def _bound(labels: Labels) -> tuple[Labels, float] | None:
    """The histogram and the upper bound of a bucket; None where its bound is no number."""
    try:
        return with_value(labels, "le", ""), float(value_of(labels, "le"))
    except ValueError:
        return None


def _merged(buckets: Buckets) -> tuple[list[float], list[float]]:
    """Bounds, ascending, and the counts up to there; those of equal bounds are added."""
    counts: defaultdict[float, float] = defaultdict(float)
    for bound, count in sorted(buckets, key=itemgetter(0)):
        counts[bound] += count
    return list(counts), list(counts.values())


def _risen(before: float, count: float) -> float:
    """The count, or the one before where it is not above that by more than rounding."""
    return before if count - before < _ROUNDING * (abs(count) + abs(before)) else count


def bucket_quantile(buckets: Buckets, share: float) -> float:
    """The value below which this share of the observations lies.

    NaN without a bucket up to infinity, without another, or without observations; infinite where the share is not
    from 0 to 1.
    """
    if share != share:  # noqa: PLR0124 - a NaN
        return math.nan
    if not 0 <= share <= 1:
        return math.copysign(math.inf, share)
    bounds, counts = _merged(buckets)
    counts = list(accumulate(counts, _risen))
    if bounds[-1] != math.inf or len(bounds) < 2 or not counts[-1]:
        return math.nan
    rank = share * counts[-1]
    index = next((index for index, count in enumerate(counts) if count >= rank), len(counts) - 1)
    if index == len(counts) - 1:
        return bounds[-2]
    if index == 0:
        return bounds[0] if bounds[0] <= 0 else bounds[0] * divide(rank, counts[0])
    below = counts[index - 1]
    return bounds[index - 1] + (bounds[index] - bounds[index - 1]) * divide(rank - below, counts[index] - below)


def bucket_fraction(buckets: Buckets, lower: float, upper: float) -> float:
    """The share of observations between two values."""
    bounds, counts = _merged(buckets)
    if bounds[-1] != math.inf or not counts[-1] or lower != lower or upper != upper:  # noqa: PLR0124
        return math.nan
    if lower >= upper:
        return 0.0
    return (_count_up_to(upper, bounds, counts) - _count_up_to(lower, bounds, counts)) / counts[-1]


def _count_up_to(value: float, bounds: list[float], counts: list[float]) -> float:
    """The number of observations below a value."""
    start, below = (-math.inf if bounds[0] <= 0 else 0.0), 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if start >= value:
            break
        if bound > value:
            below = count if start == -math.inf else below + (count - below) * (value - start) / (bound - start)
            break
        start, below = bound, count
    return min(below, counts[-1])
