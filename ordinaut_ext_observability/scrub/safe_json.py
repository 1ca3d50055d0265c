"""JSON that is safe to show: no character in it breaks a line or misleads its reader."""

from __future__ import annotations

import re

import orjson

MAX_TEXT_LENGTH = 2000
"""Longest text kept in a field, in characters."""

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
