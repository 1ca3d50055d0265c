"""Pieces of a log line: instants, texts and JSON that is safe to show."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import orjson

MAX_TEXT_LENGTH = 2000
"""Longest text kept in a field, in characters."""

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


# JSON lets these stand as they are. DEL and C1 are commands to terminals; NEL (one of C1), U+2028 and U+2029 end a line
# for some readers; bidirectional controls change the order in which text is shown.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def encode(value: object) -> bytes:
    """The value as JSON; characters that could break a line, or mislead its reader, are escaped.

    Raises:
        TypeError: text that is not Unicode, an integer past 64 bits, an object the encoder does not know.
    """
    data = orjson.dumps(value)
    # Beyond ASCII they begin with one of three bytes, with which letters of most languages do not: those need not be
    # looked at one by one.
    if 0x7F not in data and (data.isascii() or not (0xC2 in data or 0xD8 in data or 0xE2 in data)):
        return data
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode()).encode()


def json_text(text: str) -> str:
    """The text as a JSON string, quotes included; lone surrogates and what is too long are replaced."""
    if len(text) > MAX_TEXT_LENGTH:
        text = text[:MAX_TEXT_LENGTH] + "…"
    try:
        return encode(text).decode()
    except TypeError:
        return encode(text.encode("utf-8", "backslashreplace").decode()).decode()
