"""Sizes and times as people read them."""

from __future__ import annotations

_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_TIME_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def bytes_text(number: float) -> str:
    """A size with two or three digits, in units of 1024."""
    unit = 0
    while number >= 1024 and unit < len(_BYTE_UNITS) - 1:
        number /= 1024
        unit += 1
    return f"{number:.1f} {_BYTE_UNITS[unit]}" if unit and number < 10 else f"{number:.0f} {_BYTE_UNITS[unit]}"


def duration_text(seconds: float) -> str:
    """A duration in its largest unit and the next: `2 h 5 min`, `12 s`, `3 ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 or seconds == 0 else f"{seconds * 1e6:.0f} µs"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    for index, (name, size) in enumerate(_TIME_UNITS):
        if left >= size:
            whole, rest = divmod(left, int(size))
            if index + 1 < len(_TIME_UNITS):
                smaller, smaller_size = _TIME_UNITS[index + 1]
                if part := rest // int(smaller_size):
                    return f"{whole} {name} {part} {smaller}"
            return f"{whole} {name}"
    return "0 s"
