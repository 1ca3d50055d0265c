"""Functions of a value that is a time in seconds since 1970, in UTC."""

from __future__ import annotations

import calendar
import math
import time
from collections.abc import Callable
from typing import Final


def _of_date(part: Callable[[time.struct_time], int]) -> Callable[[float], float]:
    def function(seconds: float) -> float:
        try:
            return float(part(time.gmtime(math.trunc(seconds))))
        except (OverflowError, ValueError, OSError):  # infinite, NaN, or beyond what the system counts
            return math.nan

    return function


def _days_in_month(date: time.struct_time) -> int:
    if date.tm_mon == 2:
        return 29 if calendar.isleap(date.tm_year) else 28
    return 30 if date.tm_mon in (4, 6, 9, 11) else 31


DATE_FUNCTIONS: Final[dict[str, Callable[[float], float]]] = {
    "day_of_month": _of_date(lambda date: date.tm_mday),
    "day_of_week": _of_date(lambda date: (date.tm_wday + 1) % 7),
    "day_of_year": _of_date(lambda date: date.tm_yday),
    "days_in_month": _of_date(_days_in_month),
    "hour": _of_date(lambda date: date.tm_hour),
    "minute": _of_date(lambda date: date.tm_min),
    "month": _of_date(lambda date: date.tm_mon),
    "year": _of_date(lambda date: date.tm_year),
}
"""Sunday is day 0 of a week; months and days of a month or year begin with 1."""
