"""Any value as JSON: never raises, never unbounded.

The usual line is encoded as it is. What the encoder refuses (cycles, text that is not Unicode, integers past 64 bits,
objects whose `__str__` fails) and what is too long is first made plain: cut to bounded depth, width and length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import Enum
from uuid import UUID

import orjson

MAX_LINE_BYTES = 16 * 1024
"""Longest line written."""

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a value is kept."""

    depth: int
    items: int
    """Per container."""
    characters: int
    """Per text."""


_GENEROUS = Limits(depth=6, items=100, characters=2000)
_TIGHT = Limits(depth=3, items=20, characters=300)


def encode_line(line: dict[str, object]) -> str:
    """The line as one JSON object of at most `MAX_LINE_BYTES`, without line breaks."""
    try:
        encoded = orjson.dumps(line, default=_stand_in)
        if len(encoded) <= MAX_LINE_BYTES:
            return encoded.decode()
    except Exception:  # noqa: BLE001, S110 - the encoder runs other people's methods; what it refuses is made plain
        pass
    for limits in (_GENEROUS, _TIGHT):
        encoded = orjson.dumps(_plain(line, limits, ()))
        if len(encoded) <= MAX_LINE_BYTES:
            return encoded.decode()
    return _first_fields(line)


def _first_fields(line: dict[str, object]) -> str:
    """As many fields as fit, in their order, and how many were left out."""
    kept: dict[str, object] = {}
    size = 64
    for name, value in _plain_items(line, _TIGHT, ()):
        size += len(orjson.dumps({name: value}))
        if size > MAX_LINE_BYTES:
            break
        kept[name] = value
    return orjson.dumps({**kept, "fields_left_out": len(line) - len(kept)}).decode()


def _stand_in(value: object) -> object:
    """For the encoder: a value it knows in place of one it does not."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value[: _GENEROUS.characters]).decode("utf-8", "backslashreplace")
    if isinstance(value, (set, frozenset)):
        return list(value)[: _GENEROUS.items]
    if isinstance(value, Mapping):
        return dict(value)
    return text_of(value)


def text_of(value: object) -> str:
    """The value's text, whatever its `__str__` does."""
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001 - other people's `__str__`
        return f"<{type(value).__name__}: __str__ raised {type(error).__name__}>"
    return text


def _plain(value: object, limits: Limits, path: tuple[int, ...]) -> object:
    """The value in types every encoder knows, cut to the limits. `path` holds the identities of what it is in."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return value if _fits(value) else _cut(text_of(value), limits)
    if isinstance(value, (str, UUID, date, time)):
        return _cut(text_of(value), limits)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _cut(bytes(value[: limits.characters]).decode("utf-8", "backslashreplace"), limits)
    return _plain_container(value, limits, path)


def _fits(number: float) -> bool:
    """Whether the encoder takes the number: finite, and an integer within 64 bits."""
    return math.isfinite(number) if isinstance(number, float) else _MIN_INT <= number <= _MAX_INT


def _plain_container(value: object, limits: Limits, path: tuple[int, ...]) -> object:
    if id(value) in path:
        return "<cycle>"
    if len(path) >= limits.depth:
        return f"<{type(value).__name__}>"
    inner = (*path, id(value))
    try:
        if isinstance(value, Mapping):
            return dict(_plain_items(value, limits, inner))
        if isinstance(value, (list, tuple, set, frozenset)):
            return _plain_list(value, limits, inner)
    except Exception as error:  # noqa: BLE001 - other people's containers
        return f"<{type(value).__name__}: {type(error).__name__}>"
    return _cut(text_of(value), limits)


def _plain_items(
    mapping: Mapping[object, object] | dict[str, object], limits: Limits, path: tuple[int, ...]
) -> Iterable[tuple[str, object]]:
    for number, (name, value) in enumerate(mapping.items()):
        # The line itself keeps every field; only what is inside it is cut.
        if path and len(path) > 1 and number >= limits.items:
            yield "…", f"{len(mapping) - number} more"
            return
        yield _cut(text_of(name), limits), _plain(value, limits, path)


def _plain_list(values: Iterable[object], limits: Limits, path: tuple[int, ...]) -> list[object]:
    plain: list[object] = []
    for number, value in enumerate(values):
        if number >= limits.items:
            plain.append("…")
            break
        plain.append(_plain(value, limits, path))
    return plain


def _cut(text: str, limits: Limits) -> str:
    """The text, not too long and valid Unicode."""
    if len(text) > limits.characters:
        text = f"{text[: limits.characters]}…"
    return text.encode("utf-8", "backslashreplace").decode()
