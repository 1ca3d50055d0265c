"""Functions of the samples in a range: what they come to, and how they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

from ordinaut_ext_observability.promql.functions.values import STATISTICS, Statistic, quantile, regression
from ordinaut_ext_observability.promql.selecting import Window

RangeFunction = Callable[[Sequence[int], Sequence[float], Window], float | None]
"""A function of the samples' times and values, at least one; None where it has no result."""

_SPACING_TOLERANCE: Final = 1.1
"""Mean distances of samples that the first or last may lie from the range's border, to be taken as going on beyond."""


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
