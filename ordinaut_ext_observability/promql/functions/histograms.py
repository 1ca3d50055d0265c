"""Functions of classic histograms: cumulative counts by upper bound.

Values within a bucket are taken as spread evenly; the first bucket begins at zero, if its bound is above.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.labels import Remembered, drop_name, value_of, with_value
from ordinaut_ext_observability.promql.nodes import Call
from ordinaut_ext_observability.promql.statistics import divide
from ordinaut_ext_observability.promql.work import Parts, pieces, unique

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
    bounds = evaluator.state(call, lambda: Remembered(_bound))
    histograms: defaultdict[Labels, Buckets] = defaultdict(list)
    for part in evaluator.parts(call.arguments[-1], time):
        for labels, count in part:
            found = bounds[labels]
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


def _merged(buckets: Buckets) -> Buckets:
    """The buckets by their bounds, those of equal bounds added."""
    result: Buckets = []
    for bound, count in sorted(buckets, key=lambda bucket: bucket[0]):
        if result and result[-1][0] == bound:
            result[-1] = (bound, result[-1][1] + count)
        else:
            result.append((bound, count))
    return result


def _never_falling(counts: list[float]) -> list[float]:
    """The counts, none below the one before it, and without differences that only rounding made."""
    result = counts[:1]
    for count in counts[1:]:
        before = result[-1]
        same = abs(count - before) < _ROUNDING * (abs(count) + abs(before))
        result.append(before if same or count < before else count)
    return result


def bucket_quantile(buckets: Buckets, share: float) -> float:
    """The value below which this share of the observations lies.

    NaN without a bucket up to infinity, without another, or without observations; infinite where the share is not
    from 0 to 1.
    """
    if share != share:  # noqa: PLR0124 - a NaN
        return math.nan
    if not 0 <= share <= 1:
        return math.copysign(math.inf, share)
    buckets = _merged(buckets)
    bounds = [bound for bound, _ in buckets]
    counts = _never_falling([count for _, count in buckets])
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
    buckets = _merged(buckets)
    observations = buckets[-1][1]
    if buckets[-1][0] != math.inf or not observations or lower != lower or upper != upper:  # noqa: PLR0124
        return math.nan
    if lower >= upper:
        return 0.0
    return (_count_up_to(upper, buckets) - _count_up_to(lower, buckets)) / observations


def _count_up_to(value: float, buckets: Buckets) -> float:
    """The number of observations below a value."""
    start, below = (-math.inf if buckets[0][0] <= 0 else 0.0), 0.0
    for bound, count in buckets:
        if start >= value:
            return min(below, buckets[-1][1])
        if bound > value:
            if start == -math.inf:
                return min(count, buckets[-1][1])
            return min(below + (count - below) * (value - start) / (bound - start), buckets[-1][1])
        start, below = bound, count
    return buckets[-1][1]
