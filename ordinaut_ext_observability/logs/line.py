"""The log line: one flat JSON object, its fields in the order the documentation gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from ordinaut_ext_observability.clock import wall_seconds

MAX_TEXT_LENGTH = 2000
"""Longest text kept in a field, in characters."""

_MILLISECONDS = tuple(f".{millisecond:03d}Z" for millisecond in range(1000))


class Timestamps:
    """Formats instants as RFC 3339 in UTC with milliseconds; the second's text is kept until the next second."""

    __slots__ = ("_current",)

    def __init__(self) -> None:
        self._current = (-1, "")  # one tuple, so that threads never see one second with the text of another

    def format(self, instant_seconds: float) -> str:
        """`2026-11-23T22:19:04.123Z` for seconds since 1970."""
        second = int(instant_seconds)
        known, text = self._current
        if second != known:
            text = _format_second(second)
            self._current = (second, text)
        return text + _MILLISECONDS[int((instant_seconds - second) * 1000)]


def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def json_text(text: str) -> str:
    """The text as a JSON string, quotes included; lone surrogates and what is too long are replaced."""
    if len(text) > MAX_TEXT_LENGTH:
        text = text[:MAX_TEXT_LENGTH] + "…"
    try:
        return orjson.dumps(text).decode()
    except orjson.JSONEncodeError:
        return orjson.dumps(text.encode("utf-8", "backslashreplace").decode()).decode()


_timestamps = Timestamps()


def event_line(level: str, logger: str, message: str, **fields: Any) -> str:
    """A line for an event of this package: plain values only, None left out."""
    line = {"timestamp": _timestamps.format(wall_seconds()), "level": level, "logger": logger, "message": message}
    line.update((name, value) for name, value in fields.items() if value is not None)
    return orjson.dumps(line, default=str).decode()
