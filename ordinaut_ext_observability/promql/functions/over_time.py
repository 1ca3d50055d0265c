"""Functions of all samples in a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from ordinaut_ext_observability.promql.functions import rates
from ordinaut_ext_observability.promql.selecting import Window
from ordinaut_ext_observability.promql.statistics import (
    deviation,
    largest,
    mean,
    quantile,
    smallest,
    total,
    variance,
)

RangeFunction = Callable[[Sequence[int], Sequence[float], Window], float | None]
"""A function of the samples' times and values, at least one; None where it has no result."""


def _of_values(function: Callable[[Sequence[float]], float]) -> RangeFunction:
    return lambda _times, values, _window: function(values)


def _median_deviation(values: Sequence[float]) -> float:
    """The median distance from the median, NaN if any value is."""
    if any(value != value for value in values):  # noqa: PLR0124
        return math.nan
    middle = quantile(0.5, values)
    return quantile(0.5, [abs(value - middle) for value in values])


def _time_of(extreme: Callable[[Sequence[float]], float]) -> RangeFunction:
    """The time of the last sample that has the extreme value; of the last one if all are NaN."""

    def function(times: Sequence[int], values: Sequence[float], _window: Window) -> float:
        wanted = extreme(values)
        found = [time for time, value in zip(times, values, strict=True) if value == wanted]
        return (found or times)[-1] / 1_000

    return function


RANGE_FUNCTIONS: Final[dict[str, RangeFunction]] = {
    "avg_over_time": _of_values(mean),
    "count_over_time": _of_values(lambda values: float(len(values))),
    "first_over_time": _of_values(lambda values: values[0]),
    "last_over_time": _of_values(lambda values: values[-1]),
    "mad_over_time": _of_values(_median_deviation),
    "max_over_time": _of_values(largest),
    "min_over_time": _of_values(smallest),
    "present_over_time": _of_values(lambda _: 1.0),
    "quantile_over_time": lambda _times, values, window: quantile(window.parameters[0], values),
    "stddev_over_time": _of_values(deviation),
    "stdvar_over_time": _of_values(variance),
    "sum_over_time": _of_values(total),
    "ts_of_first_over_time": lambda times, _values, _window: times[0] / 1_000,
    "ts_of_last_over_time": lambda times, _values, _window: times[-1] / 1_000,
    "ts_of_max_over_time": _time_of(largest),
    "ts_of_min_over_time": _time_of(smallest),
    "changes": rates.changes,
    "delta": rates.delta,
    "deriv": rates.deriv,
    "double_exponential_smoothing": rates.double_exponential_smoothing,
    "idelta": rates.idelta,
    "increase": rates.increase,
    "irate": rates.irate,
    "predict_linear": rates.predict_linear,
    "rate": rates.rate,
    "resets": rates.resets,
}
KEEP_NAME: Final = ("first_over_time", "last_over_time")
"""Functions whose result is still a value of the same metric."""
