"""Functions of one value, with the results that Go's package `math` has where Python's raises an error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

ValueFunction = Callable[[float], float]


def _total(function: ValueFunction, overflow: float = math.inf) -> ValueFunction:
    """The function, NaN where it is not defined, and infinite where its result is too large."""

    def defined(value: float) -> float:
        try:
            return function(value)
        except ValueError:
            return math.nan
        except OverflowError:
            return overflow

    return defined


def _logarithm(function: ValueFunction) -> ValueFunction:
    return lambda value: function(value) if value > 0 else (math.nan if value else -math.inf)


def floor(value: float) -> float:
    """The largest whole number that is not above."""
    return math.copysign(float(math.floor(value)), value) if math.isfinite(value) else value


def larger(one: float, other: float) -> float:
    """The larger of two numbers, NaN if one is."""
    return one if one != one or one > other else other  # noqa: PLR0124


def smaller(one: float, other: float) -> float:
    """The smaller of two numbers, NaN if one is."""
    return one if one != one or one < other else other  # noqa: PLR0124


def _ceil(value: float) -> float:
    return math.copysign(float(math.ceil(value)), value) if math.isfinite(value) else value


def _sinh(value: float) -> float:
    try:
        return math.sinh(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _atanh(value: float) -> float:
    if abs(value) == 1:
        return math.copysign(math.inf, value)
    return math.atanh(value) if abs(value) < 1 else math.nan


VALUE_FUNCTIONS: Final[dict[str, ValueFunction]] = {
    "abs": abs,
    "acos": _total(math.acos),
    "acosh": _total(math.acosh),
    "asin": _total(math.asin),
    "asinh": math.asinh,
    "atan": math.atan,
    "atanh": _atanh,
    "ceil": _ceil,
    "cos": _total(math.cos),
    "cosh": _total(math.cosh),
    "deg": lambda value: value * 180 / math.pi,
    "exp": _total(math.exp),
    "floor": floor,
    "ln": _logarithm(math.log),
    "log10": _logarithm(math.log10),
    "log2": _logarithm(math.log2),
    "rad": lambda value: value * math.pi / 180,
    "sgn": lambda value: float((value > 0) - (value < 0)) or value,
    "sin": _total(math.sin),
    "sinh": _sinh,
    "sqrt": _total(math.sqrt),
    "tan": _total(math.tan),
    "tanh": math.tanh,
}
