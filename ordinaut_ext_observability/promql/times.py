"""Times, durations and numbers as Prometheus's queries, API and command line write them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from decimal import Decimal

MIN_MS = -(2**53)
"""The earliest time, in milliseconds since 1970: numbers of this size are exact as floats, too."""
MAX_MS = 2**53

_UNITS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,12}}){unit})?" for unit in _UNITS))
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_ENDS_OF_TIME = {"-292273086-05-16T16:47:06Z": MIN_MS, "292277025-08-18T07:12:54.999999999Z": MAX_MS}
"""Texts by which Prometheus's own clients say from the beginning, and to the end."""
_LEAST_PLAIN, _LEAST_LARGE = 1e-6, 1e21  # between them Prometheus writes samples without an exponent


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of a number of seconds or of a time as in RFC 3339, such as `2026-11-23T22:19:04.123Z`.

    Raises ValueError where it is neither.
    """
    if text in _ENDS_OF_TIME:
        return _ENDS_OF_TIME[text]
    if _INSTANT.fullmatch(text):
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    return _milliseconds(text)


def parse_duration(text: str) -> int:
    """Milliseconds of a number of seconds or of a duration such as `1h30m`. Raises ValueError where it is neither."""
    parts = _DURATION.fullmatch(text)
    if parts is None or not text:
        return _milliseconds(text)
    duration = sum(int(number) * unit for number, unit in zip(parts.groups("0"), _UNITS.values(), strict=True))
    if duration > MAX_MS:
        raise ValueError(f"{text} is longer than time")
    return duration


def _milliseconds(seconds: str) -> int:
    value = float(seconds) * 1000
    if not math.isfinite(value) or not MIN_MS <= value <= MAX_MS:
        raise ValueError(f"{seconds} seconds are out of reach")
    return round(value)


def format_value(value: float, *, exponents: bool = True) -> str:
    """The shortest decimal that is this number, as Go writes it: `1`, `0.1`, `1e+21`, `+Inf`, `NaN`.

    Without `exponents` no number has one: Prometheus writes those of scalars so.
    """
    if not math.isfinite(value):
        return "+Inf" if value > 0 else "-Inf" if value < 0 else "NaN"
    text = repr(value).removesuffix(".0")
    if "e" not in text or (exponents and not _LEAST_PLAIN <= abs(value) < _LEAST_LARGE):
        return text
    return format(Decimal(text), "f")
