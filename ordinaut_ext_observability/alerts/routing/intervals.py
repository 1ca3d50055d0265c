"""Time intervals by the clock and the calendar of a place, as Alertmanager has them.

https://prometheus.io/docs/alerting/latest/configuration/#time_interval
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

_DAYS: Final = {"sunday": 0, "monday": 1, "tuesday": 2, "wednesday": 3, "thursday": 4, "friday": 5, "saturday": 6}
_MONTHS: Final = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_CLOCK: Final = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")
_MINUTES_OF_DAY: Final = 24 * 60

Range = tuple[int, int]
"""First and last, both included."""


@dataclass(frozen=True)
class TimeInterval:
    """Times at which all of these hold; an empty one of them always does."""

    times: tuple[Range, ...] = ()
    """Minutes of the day; the last is not included."""
    weekdays: tuple[Range, ...] = ()
    """0 is Sunday."""
    days_of_month: tuple[Range, ...] = ()
    """1 is the first day; -1 is the last."""
    months: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()
    location: tzinfo = UTC

    def contains(self, now_ms: int) -> bool:
        """Tell whether this time is within."""
        local = datetime.fromtimestamp(now_ms / 1000, self.location)
        minute = local.hour * 60 + local.minute
        if self.times and not any(first <= minute < last for first, last in self.times):
            return False
        length = calendar.monthrange(local.year, local.month)[1]
        days = [(_day(first, length), _day(last, length)) for first, last in self.days_of_month]
        return (
            _holds((local.isoweekday() % 7), self.weekdays)
            and (not days or any(max(first, 1) <= local.day <= min(last, length) for first, last in days))
            and _holds(local.month, self.months)
            and _holds(local.year, self.years)
        )


@dataclass(frozen=True)
class TimeIntervals:
    """Times that are within at least one of these."""

    intervals: tuple[TimeInterval, ...]

    def contains(self, now_ms: int) -> bool:
        """Tell whether this time is within one of them."""
        return any(interval.contains(now_ms) for interval in self.intervals)


def _holds(value: int, ranges: tuple[Range, ...]) -> bool:
    return not ranges or any(first <= value <= last for first, last in ranges)


def _day(day: int, length: int) -> int:
    return day if day > 0 else length + day + 1


def read_times(times: Iterable[Mapping[str, str]]) -> tuple[Range, ...]:
    """Times of the day, `{start_time: "09:00", end_time: "17:00"}`. Raises ValueError where one cannot be read."""
    found = tuple((_minute(each["start_time"]), _minute(each["end_time"])) for each in times)
    if any(first >= last for first, last in found):
        raise ValueError("start_time must be before end_time; a night is two intervals, up to 24:00 and from 00:00")
    return found


def read_weekdays(texts: Iterable[str]) -> tuple[Range, ...]:
    """Days of the week, `monday:friday`. Raises ValueError where one cannot be read."""
    return _ranges(texts, _DAYS, 0, 6, "a day such as monday, or days such as monday:friday")


def read_months(texts: Iterable[str]) -> tuple[Range, ...]:
    """Months, `january:march` or `1:3`. Raises ValueError where one cannot be read."""
    return _ranges(texts, _MONTHS, 1, 12, "a month such as january or 1, or months such as january:march")


def read_years(texts: Iterable[str]) -> tuple[Range, ...]:
    """Years, `2026:2028`. Raises ValueError where one cannot be read."""
    return _ranges(texts, {}, 0, 9999, "a year such as 2026, or years such as 2026:2028")


def read_days_of_month(texts: Iterable[str]) -> tuple[Range, ...]:
    """Days of the month, `1:5` or `-3:-1`. Raises ValueError where one cannot be read."""
    words = "a day such as 1, days such as 1:5, or -1 for the last"
    found = _ranges(texts, {}, -31, 31, words)
    if any(first == 0 or last == 0 or (first < 0 < last) for first, last in found):
        raise ValueError(f"is not {words}")
    return found


def read_location(name: str) -> tzinfo:
    """The time zone of that name, such as `Europe/Berlin`. Raises ValueError where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("is no time zone such as Europe/Berlin or UTC") from None


def _minute(text: str) -> int:
    found = _CLOCK.fullmatch(str(text))
    if found is None:
        raise ValueError("is no time such as 09:00 or 24:00")
    return int(found[1]) * 60 + int(found[2]) if found[1] else _MINUTES_OF_DAY


def _ranges(texts: Iterable[str], names: Mapping[str, int], least: int, most: int, words: str) -> tuple[Range, ...]:
    ranges = []
    for text in texts:
        first, colon, last = str(text).lower().partition(":")
        try:
            ends = [names[end] if end in names else int(end) for end in (first, last if colon else first)]
        except ValueError:
            raise ValueError(f"is not {words}") from None
        if not least <= ends[0] <= ends[1] <= most:
            raise ValueError(f"is not {words}")
        ranges.append((ends[0], ends[1]))
    return tuple(ranges)
