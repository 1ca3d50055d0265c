"""Instants as text."""

from __future__ import annotations

from datetime import UTC, datetime

# An instant that is a whole millisecond is a little less as a binary float: what is added makes up for that. The last
# entry is for what then comes to a thousand.
_MILLISECONDS = (*(f".{millisecond:03d}Z" for millisecond in range(1000)), ".999Z")
_FLOAT_ERROR = 0.0005


class Timestamps:
    """Formats instants as RFC 3339 in UTC with milliseconds; the second's text is kept until the next second."""

    __slots__ = ("_current",)

    def __init__(self) -> None:
        self._current = (-1, "")  # one tuple, so that threads never see one second with the text of another

    def format(self, instant_seconds: float) -> str:
        """`2026-11-23T22:19:04.123Z` for seconds since 1970.

        Raises:
            ValueError, OverflowError, OSError: it is no instant of the years 1 to 9999.
        """
        second = int(instant_seconds)
        known, text = self._current
        if second != known:
            text = _format_second(second)
            self._current = (second, text)
        return text + _MILLISECONDS[int((instant_seconds - second) * 1000 + _FLOAT_ERROR)]


def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
