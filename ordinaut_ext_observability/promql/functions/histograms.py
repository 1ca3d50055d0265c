"""Functions of classic histograms: cumulative counts by upper bound.

Values within a bucket are taken as spread evenly; the first bucket begins at zero, if its bound is above.
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels, value_of
from ordinaut_ext_observability.promql.functions.values import divide
from ordinaut_ext_observability.promql.labels import drop_name, with_value
from ordinaut_ext_observability.promql.nodes import Call
from ordinaut_ext_observability.promql.query import Parts, pieces, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

Buckets = list[tuple[float, float]]
"""Upper bounds and the counts of observations up to there."""

_ROUNDING: Final = 1e-12
"""Relative difference of two counts that is no difference: sums of rates are that inexact. Prometheus's own value."""


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
