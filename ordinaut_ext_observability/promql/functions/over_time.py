"""Functions of all samples in a range."""

from __future__ import annotations

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


RANGE_FUNCTIONS: Final[dict[str, RangeFunction]] = {
    "avg_over_time": _of_values(mean),
    "count_over_time": _of_values(lambda values: float(len(values))),
    "last_over_time": _of_values(lambda values: values[-1]),
    "max_over_time": _of_values(largest),
    "min_over_time": _of_values(smallest),
    "present_over_time": _of_values(lambda _: 1.0),
    "quantile_over_time": lambda _times, values, window: quantile(window.parameters[0], values),
    "stddev_over_time": _of_values(deviation),
    "stdvar_over_time": _of_values(variance),
    "sum_over_time": _of_values(total),
    "changes": rates.changes,
    "delta": rates.delta,
    "deriv": rates.deriv,
    "idelta": rates.idelta,
    "increase": rates.increase,
    "irate": rates.irate,
    "predict_linear": rates.predict_linear,
    "rate": rates.rate,
    "resets": rates.resets,
}
