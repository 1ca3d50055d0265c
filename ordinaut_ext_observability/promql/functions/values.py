"""Functions of one value, and of several: sums, means, spreads and quantiles, with Prometheus's precision.

NaNs and infinities are as in Go's package `math`, also where Python's raises an error. Functions of dates take a value
as a time in seconds since 1970, in UTC.
"""

from __future__ import annotations

import calendar
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

ValueFunction = Callable[[float], float]


def defined(function: Callable[..., float]) -> Callable[..., float]:
    """The function of numbers, NaN where it is not defined, and infinite where its result is too large."""

    def with_limits(*values: float) -> float:
        try:
            return function(*values)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return with_limits


def _logarithm(function: ValueFunction) -> ValueFunction:
    return lambda value: function(value) if value > 0 else (math.nan if value else -math.inf)


_atanh: Final = defined(math.atanh)
_sinh: Final = defined(math.sinh)


def floor(value: float) -> float:
    """The largest whole number that is not above."""
    return math.copysign(float(math.floor(value)), value) if math.isfinite(value) else value


def larger(one: float, other: float) -> float:
    """The larger of two numbers, NaN if one is."""
    return one if one != one or one > other else other  # noqa: PLR0124


def smaller(one: float, other: float) -> float:
    """The smaller of two numbers, NaN if one is."""
    return one if one != one or one < other else other  # noqa: PLR0124


def _date(part: Callable[[time.struct_time], int]) -> ValueFunction:
    """A part of the date; Sunday is day 0 of a week, months and days of a month or year begin with 1."""

    def function(seconds: float) -> float:
        try:
            return float(part(time.gmtime(math.trunc(seconds))))
        except (OverflowError, ValueError, OSError):  # infinite, NaN, or beyond what the system counts
            return math.nan

    return function


VALUE_FUNCTIONS: Final[dict[str, ValueFunction]] = {
    "abs": abs,
    "acos": defined(math.acos),
    "acosh": defined(math.acosh),
    "asin": defined(math.asin),
    "asinh": math.asinh,
    "atan": math.atan,
    "atanh": lambda value: math.copysign(math.inf, value) if abs(value) == 1 else _atanh(value),
    "ceil": lambda value: -floor(-value),
    "cos": defined(math.cos),
    "cosh": defined(math.cosh),
    "day_of_month": _date(lambda date: date.tm_mday),
    "day_of_week": _date(lambda date: (date.tm_wday + 1) % 7),
    "day_of_year": _date(lambda date: date.tm_yday),
    "days_in_month": _date(lambda date: calendar.monthrange(date.tm_year, date.tm_mon)[1]),
    "deg": lambda value: value * 180 / math.pi,
    "exp": defined(math.exp),
    "floor": floor,
    "hour": _date(lambda date: date.tm_hour),
    "ln": _logarithm(math.log),
    "log10": _logarithm(math.log10),
    "log2": _logarithm(math.log2),
    "minute": _date(lambda date: date.tm_min),
    "month": _date(lambda date: date.tm_mon),
    "pi": lambda _: math.pi,
    "rad": lambda value: value * math.pi / 180,
    "sgn": lambda value: float((value > 0) - (value < 0)) or value,
    "sin": defined(math.sin),
    "sinh": lambda value: math.copysign(_sinh(abs(value)), value),
    "sqrt": defined(math.sqrt),
    "tan": defined(math.tan),
    "tanh": math.tanh,
    "time": float,
    "year": _date(lambda date: date.tm_year),
}


Statistic = Callable[[Sequence[float]], float]


def _added(value: float, total: float, lost: float) -> tuple[float, float]:
    """The total with one value more, and what rounding lost so far: Neumaier's variant of Kahan's summation."""
    result = total + value
    if math.isinf(result):
        return result, 0.0
    if abs(total) >= abs(value):
        return result, lost + ((total - result) + value)
    return result, lost + ((value - result) + total)


def compensated(values: Iterable[float]) -> float:
    """The sum, with what rounding loses added at the end, as Prometheus and Python's own `sum` since 3.12 do."""
    result = lost = 0.0
    for value in values:
        result, lost = _added(value, result, lost)
    return result + lost


total: Callable[[Iterable[float]], float] = partial(sum, start=0.0) if sys.version_info >= (3, 12) else compensated
"""The sum; infinite if a part of it, in this order, is too large for a float."""


def mean(values: Sequence[float]) -> float:
    """The mean, also where the sum is too large for a float: it is then carried from value to value."""
    direct = total(values)
    if not math.isinf(direct):
        return direct / len(values)
    result = lost = 0.0
    for count, value in enumerate(values, 1):
        kept = (count - 1) / count
        result, lost = _added(value / count, kept * result, kept * lost)
    return result + lost


def variance(values: Sequence[float]) -> float:
    """The mean of squared distances from the mean, by Welford's algorithm: exactly zero for equal values."""
    middle = lost_middle = squares = lost_squares = 0.0
    for count, value in enumerate(values, 1):
        distance = value - (middle + lost_middle)
        middle, lost_middle = _added(distance / count, middle, lost_middle)
        squares, lost_squares = _added(distance * (value - (middle + lost_middle)), squares, lost_squares)
    return (squares + lost_squares) / len(values)


def divide(left: float, right: float) -> float:
    """The quotient as IEEE 754 has it: infinite or NaN where the divisor is zero."""
    if right:
        return left / right
    if not left or left != left:  # noqa: PLR0124 - a NaN
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def without_nan(values: Iterable[float]) -> list[float]:
    """The values that are numbers."""
    return [value for value in values if value == value]  # noqa: PLR0124 - false of a NaN


def quantile(share: float, values: Sequence[float]) -> float:
    """The value below which this share of the values lies, between the two nearest. NaNs count as the smallest.

    Infinite where the share is not from 0 to 1, as in Prometheus.
    """
    if not values or share != share:  # noqa: PLR0124 - a NaN
        return math.nan
    if not 0 <= share <= 1:
        return math.copysign(math.inf, share)
    numbers = sorted(without_nan(values))
    ordered = [math.nan] * (len(values) - len(numbers)) + numbers
    rank = share * (len(ordered) - 1)
    lower = math.floor(rank)
    weight = rank - lower
    return ordered[lower] * (1 - weight) + ordered[min(len(ordered) - 1, lower + 1)] * weight


STATISTICS: Final[dict[str, Statistic]] = {
    "avg": mean,
    "count": lambda values: float(len(values)),
    "max": lambda values: max(without_nan(values), default=math.nan),
    "min": lambda values: min(without_nan(values), default=math.nan),
    "stddev": lambda values: math.sqrt(variance(values)),
    "stdvar": variance,
    "sum": total,
}
"""Functions of a group's values, and of a range's. An extreme is NaN only if all values are."""


def regression(times: Sequence[int], values: Sequence[float], origin_ms: int) -> tuple[float, float]:
    """Slope per second, and value at the origin, of the line with the least squared distances."""
    first = values[0]
    if all(value == first for value in values):
        return (math.nan, math.nan) if math.isinf(first) else (0.0, first)
    count = len(values)
    seconds = [(time - origin_ms) / 1_000 for time in times]
    sum_x, sum_y = total(seconds), total(values)
    covariance = total([x * y for x, y in zip(seconds, values, strict=True)]) - sum_x * sum_y / count
    spread = total([x * x for x in seconds]) - sum_x * sum_x / count
    slope = divide(covariance, spread)
    return slope, sum_y / count - slope * sum_x / count
