"""Any value as JSON: never raises, never unbounded.

The encoder is given plain values only (text, numbers, None): it reads containers and other people's objects without
looking for errors, and changing ones end the process. Everything else is first made plain here, cut to a bounded
depth, width and length, and to a bounded number of values per line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, time
from enum import Enum
from itertools import islice
from typing import Any

from ordinaut_ext_observability.scrub.safe_json import encode

MAX_LINE_BYTES = 16 * 1024
"""Longest line written."""

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1

are_plain = frozenset((str, int, float, bool, type(None))).issuperset
"""Whether the encoder can be given values of these types."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a value is kept."""

    depth: int
    items: int
    """Per container."""
    characters: int
    """Per text."""
    values: int
    """Per line."""


_GENEROUS = Limits(depth=6, items=100, characters=2000, values=2000)
_DETAILS = Limits(depth=4, items=50, characters=2000, values=200)
_TIGHT = Limits(depth=3, items=20, characters=300, values=200)


def put(line: dict[str, object], name: object, value: object) -> None:
    """Add a field to a line; a name that is taken gets the suffix `_`."""
    text = name if type(name) is str else text_of(name)
    while text in line:
        text = f"{text}_"
    line[text] = value


def encode_line(line: dict[str, object], max_bytes: int = MAX_LINE_BYTES) -> str:
    """The line as one JSON object of at most so many bytes, without line breaks."""
    if are_plain(map(type, line.values())):
        try:
            encoded = encode(line)
        except TypeError:
            pass  # text that is not Unicode, or an integer past 64 bits
        else:
            if len(encoded) <= max_bytes:
                return encoded.decode()
    for limits in (_GENEROUS, _TIGHT):
        encoded = encode(_Plain(limits).of_line(line))
        if len(encoded) <= max_bytes:
            return encoded.decode()
    return _fields_that_fit(_Plain(_TIGHT).of_line(line), max_bytes)


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

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._values_left = limits.values

    def of_line(self, line: dict[str, object]) -> dict[str, object]:
        """Every field of the line, its value made plain."""
        plain: dict[str, object] = {}
        for name, value in line.items():
            put(plain, self._cut(text_of(name)), self.of(value, ()))
        return plain

    def of(self, value: object, path: tuple[int, ...]) -> object:
        """One value; `path` holds the identities of the containers it is in."""
        if path:
            # The line's own fields do not count: each is kept.
            if self._values_left <= 0:
                return "…"
            self._values_left -= 1
        kind = type(value)
        if kind is str:
            return self._cut(value)  # type: ignore[arg-type]
        if value is None or kind is bool:
            return value
        try:
            return self._number(value) if isinstance(value, (int, float)) else self._other(value, path)
        except Exception as error:  # noqa: BLE001 - other people's classes
            return f"<{_type_name(value)}: {_type_name(error)}>"

    def _number(self, value: float) -> object:
        if isinstance(value, int):
            number = int.__pos__(value)  # of a subclass, too, the number itself
            return number if _MIN_INT <= number <= _MAX_INT else self._cut(_digits(number))
        real = float.__pos__(value)
        return real if math.isfinite(real) else str(real)

    def _other(self, value: object, path: tuple[int, ...]) -> object:
        if isinstance(value, Enum):
            return self.of(value.value, (*path, id(value)))
        if isinstance(value, str):
            return self._cut(str.__str__(value))
        if isinstance(value, (date, time)):
            return self._cut(str.__str__(value.isoformat()))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._cut(bytes(value[: self._limits.characters]).decode("utf-8", "backslashreplace"))
        is_container = isinstance(value, (Mapping, list, tuple, set, frozenset))
        if is_container or (is_dataclass(value) and not isinstance(value, type)):
            return self._container(value, path)
        return self._cut(text_of(value))

    def _container(self, value: object, path: tuple[int, ...]) -> object:
        if id(value) in path:
            return "<cycle>"
        if len(path) >= self._limits.depth:
            return f"<{_type_name(value)}>"
        inner = (*path, id(value))
        if isinstance(value, Mapping):
            return self._mapping(value, inner)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._list(value, inner)
        members = {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]
        return self._mapping(members, inner)

    def _mapping(self, mapping: Mapping[Any, object], path: tuple[int, ...]) -> dict[str, object]:
        plain: dict[str, object] = {}
        limit = self._limits.items
        for name, value in islice(mapping.items(), limit):
            put(plain, self._cut(text_of(name)), self.of(value, path))
        if len(mapping) > limit:
            put(plain, "…", f"{len(mapping) - limit} more")
        return plain

    def _list(self, values: Iterable[object], path: tuple[int, ...]) -> list[object]:
        limit = self._limits.items
        kept = list(islice(values, limit + 1))
        plain = [self.of(value, path) for value in kept[:limit]]
        return [*plain, "…"] if len(kept) > limit else plain

    def _cut(self, text: str) -> str:
        """The text, not too long and valid Unicode."""
        if len(text) > self._limits.characters:
            text = f"{text[: self._limits.characters]}…"
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _digits(number: int) -> str:
    """The number in full, or where Python refuses to write it out (from some thousand digits on) in hexadecimal."""
    try:
        return str(number)
    except ValueError:
        return hex(number)
