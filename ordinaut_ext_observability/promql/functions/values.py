"""Functions of one value, with the results that Go's package `math` has where Python's raises an error.

Those of dates take a value as a time in seconds since 1970, in UTC.
"""

from __future__ import annotations

import calendar
import math
import time
from collections.abc import Callable
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
