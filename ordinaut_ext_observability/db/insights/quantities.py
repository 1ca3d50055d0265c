"""Sizes and times as people read them."""

from __future__ import annotations

from itertools import pairwise

_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_TIME_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1), ("", 1))


def bytes_text(number: float) -> str:
    """A size with two or three digits, in units of 1024."""
    unit = max(0, min((int(number).bit_length() - 1) // 10, len(_BYTE_UNITS) - 1))  # each has 10 bits more
    number /= 1024**unit
    return f"{number:.1f} {_BYTE_UNITS[unit]}" if unit and number < 10 else f"{number:.0f} {_BYTE_UNITS[unit]}"


def duration_text(seconds: float) -> str:
    """A duration in its largest unit and the next: `2 h 5 min`, `12 s`, `3 ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 or seconds == 0 else f"{seconds * 1e6:.0f} µs"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    (unit, size), (smaller, smaller_size) = next(pair for pair in pairwise(_TIME_UNITS) if left >= pair[0][1])
    part = left % size // smaller_size
    return f"{left // size} {unit} {part} {smaller}" if part else f"{left // size} {unit}"
