"""Any value as JSON that is safe to show: never raises, never unbounded; no character breaks a line or misleads.

The encoder is given plain values only (text, numbers, None): it reads containers and other people's objects without
looking for errors, and changing ones end the process. Everything else is first made plain here, cut to a bounded
depth, width and length, and to a bounded number of values per line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from enum import Enum
from itertools import islice
from typing import Any

import orjson

MAX_LINE_BYTES = 16 * 1024
"""Longest line written."""

MAX_TEXT_LENGTH = 2000
"""Longest text kept in a field, in characters."""

MAX_SHORT_LENGTH = 300  # of what a person is told

# JSON lets these stand as they are. DEL and C1 are commands to terminals; NEL (one of C1), U+2028 and U+2029 end a line
# for some readers; bidirectional controls change the order in which text is shown.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# The encoder can be given values of these types, and integers of 64 bits.
_are_plain = frozenset((str, int, float, bool, type(None))).issuperset
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1

_CONTAINERS = (Mapping, list, tuple, set, frozenset)


# How much of a value is kept: depth, items of a container, characters of a text, values in containers.
_GENEROUS = (6, 100, MAX_TEXT_LENGTH, 2000)
_DETAILS = (4, 50, MAX_SHORT_LENGTH, 200)
_TIGHT = (3, 20, 300, 200)


def encode(value: object) -> bytes:
    """The value as JSON; characters that could break a line, or mislead its reader, are escaped.

    Raises TypeError for text that is not Unicode, an integer past 64 bits, an object the encoder does not know.
    """
    data = orjson.dumps(value)
    # Beyond ASCII they begin with one of three bytes, with which letters of most languages do not: those need not be
    # looked at one by one.
    if 0x7F not in data and (data.isascii() or not (0xC2 in data or 0xD8 in data or 0xE2 in data)):
        return data
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode()).encode()


def json_text(text: str) -> str:
    """The text as a JSON string, quotes included; lone surrogates and what is too long are replaced."""
    return encode(cut(text, MAX_TEXT_LENGTH)).decode()


def put(line: dict[str, object], name: object, value: object) -> None:
    """Add a field to a line; a name that is taken gets the suffix `_`."""
    text = name if type(name) is str else text_of(name)
    while text in line:
        text = f"{text}_"
    line[text] = value


def encode_line(line: dict[str, object], max_bytes: int = MAX_LINE_BYTES) -> str:
    """The line as one JSON object of at most so many bytes, without line breaks."""
    if _are_plain(map(type, line.values())):
        try:
            encoded = encode(line)
            if len(encoded) <= max_bytes:
                return encoded.decode()
        except TypeError:
            pass  # text that is not Unicode, or an integer past 64 bits
    for limits in (_GENEROUS, _TIGHT):
        plain = _Plain(limits).of_line(line)
        encoded = encode(plain)
        if len(encoded) <= max_bytes:
            return encoded.decode()
    return _fields_that_fit(plain, max_bytes)


def text_of(value: object) -> str:
    """The value's text, whatever its `__str__` does."""
    if type(value) is str:
        return value
    try:
        # What `__str__` returns may be of a class of its own; this is its text.
        return str.__str__(str(value))
    except Exception as error:  # noqa: BLE001 - other people's `__str__`
        return f"<{_type_name(value)}: __str__ raised {_type_name(error)}>"


def plain_value(value: object) -> object:
    """One value by itself, as text, numbers, None, lists and dicts of these; of fewer items than in a line."""
    return _Plain(_DETAILS).of(value, ())


def _type_name(value: object) -> str:
    try:
        return str.__str__(type(value).__name__)
    except Exception:  # noqa: BLE001 - other people's metaclasses
        return "object"


def cut(text: str, length: int) -> str:
    """The text, not too long and valid Unicode. What may be half a secret, of which nobody could tell, is left out."""
    if len(text) > length:
        whole, space, last = text[:length].rpartition(" ")
        text = f"{whole}{space}{'' if any(sign in last for sign in '=:@') else last}…"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _fields_that_fit(line: dict[str, object], max_bytes: int) -> str:
    """The fields that fit, in their order, and how many were left out."""
    kept: dict[str, object] = {}
    room = max_bytes - len('{"fields_left_out":1000000000}')
    for name, value in line.items():
        size = len(encode({name: value}))  # its braces stand for the comma
        if size <= room:
            room -= size
            kept[name] = value
    return encode({**kept, "fields_left_out": len(line) - len(kept)}).decode()


class _Plain:
    """Makes the values of one line plain."""

    def __init__(self, limits: tuple[int, int, int, int]) -> None:
        self._depth, self._items, self._characters, self._values_left = limits

    def of_line(self, line: dict[str, object]) -> dict[str, object]:
        plain: dict[str, object] = {}
        for name, value in line.items():
            put(plain, cut(text_of(name), self._characters), self.of(value, ()))
        return plain

    def of(self, value: object, path: tuple[int, ...]) -> object:
        """One value; `path` holds the identities of the containers it is in."""
        if path:
            # The line's own fields do not count: each is kept.
            if self._values_left <= 0:
                return "…"
            self._values_left -= 1
        try:
            return self._plain(value, path)
        except Exception as error:  # noqa: BLE001 - other people's classes
            return f"<{_type_name(value)}: {_type_name(error)}>"

    def _plain(self, value: object, path: tuple[int, ...]) -> object:  # noqa: PLR0911 - one for each kind of value
        if value is None or type(value) is bool:
            return value
        if isinstance(value, str):
            return cut(str.__str__(value), self._characters)
        if isinstance(value, int):
            number = int.__pos__(value)  # of a subclass, too, the number itself
            return number if _MIN_INT <= number <= _MAX_INT else cut(_digits(number), self._characters)
        if isinstance(value, float):
            real = float.__pos__(value)
            return real if math.isfinite(real) else str(real)
        if isinstance(value, Enum):
            return self.of(value.value, (*path, id(value)))
        if isinstance(value, (date, time)):
            return cut(str.__str__(value.isoformat()), self._characters)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return cut(bytes(value[: self._characters]).decode("utf-8", "backslashreplace"), self._characters)
        if isinstance(value, _CONTAINERS) or (is_dataclass(value) and not isinstance(value, type)):
            return self._container(value, path)
        return cut(text_of(value), self._characters)

    def _container(self, value: Any, path: tuple[int, ...]) -> object:
        if id(value) in path or len(path) >= self._depth:
            return "<cycle>" if id(value) in path else f"<{_type_name(value)}>"
        path = (*path, id(value))
        if hasattr(value, "_asdict"):  # a named tuple
            value = value._asdict()
        elif not isinstance(value, _CONTAINERS):
            value = {field.name: getattr(value, field.name) for field in fields(value)}
        if not isinstance(value, Mapping):
            kept = list(islice(value, self._items + 1))
            items = [self.of(item, path) for item in kept[: self._items]]
            return [*items, "…"] if len(kept) > self._items else items
        plain: dict[str, object] = {}
        for name, item in islice(value.items(), self._items):
            put(plain, cut(text_of(name), self._characters), self.of(item, path))
        if len(value) > self._items:
            put(plain, "…", f"{len(value) - self._items} more")
        return plain


def _digits(number: int) -> str:
    """The number in full, or where Python refuses to write it out (from some thousand digits on) in hexadecimal."""
    try:
        return str(number)
    except ValueError:
        return hex(number)
