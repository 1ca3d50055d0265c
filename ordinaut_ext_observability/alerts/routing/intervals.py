"""Time intervals by the clock and the calendar of a place, as Alertmanager has them.

https://prometheus.io/docs/alerting/latest/configuration/#time_interval
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field

from ordinaut_ext_observability.settings.reading import Section

MAX_ENTRIES: Final = 500
"""Entries of a list, such as routes below one route, receivers, rules: more than any real configuration has."""
_DAYS: Final = {"sunday": 0, "monday": 1, "tuesday": 2, "wednesday": 3, "thursday": 4, "friday": 5, "saturday": 6}
_MONTHS: Final = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_CLOCK: Final = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")
_MINUTES_OF_DAY: Final = 24 * 60

Range = tuple[int, int]
"""First and last, both included."""


def _times(times: Iterable[Mapping[str, str]]) -> tuple[Range, ...]:
    """Times of the day, `{start_time: "09:00", end_time: "17:00"}`, in minutes; the last is not included."""
    found = tuple((_minute(each["start_time"]), _minute(each["end_time"])) for each in times)
    if any(first >= last for first, last in found):
        raise ValueError("start_time must be before end_time; a night is two intervals, up to 24:00 and from 00:00")
    return found


def _minute(text: str) -> int:
    found = _CLOCK.fullmatch(str(text))
    if found is None:
        raise ValueError("is no time such as 09:00 or 24:00")
    return int(found[1]) * 60 + int(found[2]) if found[1] else _MINUTES_OF_DAY


def _ranges(
    names: Mapping[str, int], least: int, most: int, words: str
) -> Callable[[Iterable[str]], tuple[Range, ...]]:
    """A reader of ranges such as `monday:friday` or `1:5`; of days from the end of a month, -1 is the last."""

    def read(texts: Iterable[str]) -> tuple[Range, ...]:
        ranges = []
        for text in texts:
            first, colon, last = str(text).lower().partition(":")
            try:
                start, end = (names[each] if each in names else int(each) for each in (first, last if colon else first))
            except ValueError:
                raise ValueError(f"is not {words}") from None
            crosses_zero = least < 0 and (start == 0 or end == 0 or start < 0 < end)
            if not least <= start <= end <= most or crosses_zero:
                raise ValueError(f"is not {words}")
            ranges.append((start, end))
        return tuple(ranges)

    return read


def _location(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("is no time zone such as Europe/Berlin or UTC") from None


_WEEKDAYS: Final = _ranges(_DAYS, 0, 6, "a day such as monday, or days such as monday:friday")
_DAYS_OF_MONTH: Final = _ranges({}, -31, 31, "a day such as 1, days such as 1:5, or -1 for the last")
_MONTHS_OF_YEAR: Final = _ranges(_MONTHS, 1, 12, "a month such as january or 1, or months such as january:march")
_YEARS: Final = _ranges({}, 0, 9999, "a year such as 2026, or years such as 2026:2028")


class TimeInterval(Section):
    """Times at which all of these hold; an empty one of them always does."""

    times: Annotated[Any, BeforeValidator(_times)] = ()
    weekdays: Annotated[Any, BeforeValidator(_WEEKDAYS)] = ()
    """0 is Sunday."""
    days_of_month: Annotated[Any, BeforeValidator(_DAYS_OF_MONTH)] = ()
    months: Annotated[Any, BeforeValidator(_MONTHS_OF_YEAR)] = ()
    years: Annotated[Any, BeforeValidator(_YEARS)] = ()
    location: Annotated[Any, BeforeValidator(_location)] = UTC

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


class TimeIntervals(Section):
    """Times that are within at least one of these."""

    name: str = Field(min_length=1)
    time_intervals: list[TimeInterval] = Field(default=[], max_length=MAX_ENTRIES)

    def contains(self, now_ms: int) -> bool:
        """Tell whether this time is within one of them."""
        return any(interval.contains(now_ms) for interval in self.time_intervals)


def _holds(value: int, ranges: tuple[Range, ...]) -> bool:
    return not ranges or any(first <= value <= last for first, last in ranges)


def _day(day: int, length: int) -> int:
    return day if day > 0 else length + day + 1
