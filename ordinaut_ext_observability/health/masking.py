"""Error texts without the secrets they tend to hold: passwords in URLs, query strings, `password=…` pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_TEXT_LENGTH = 300
_MAX_INPUT = 4000
_MAX_DEPTH = 4
_MAX_ITEMS = 50

# Each alternative begins with a literal or ends where it cannot go on, so that matching takes linear time.
_USER_INFO = re.compile(r"(?<=://)[^\s/@'\"]{1,500}@")
_QUERY = re.compile(r"(?<=\?)[^\s'\"]{1,2000}")
_SECRET_NAME = r"(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|signature)"  # noqa: S105
_PAIR = re.compile(rf"({_SECRET_NAME}[\"']?\s{{0,3}}[=:]\s{{0,3}})(?:\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)", re.IGNORECASE)
_SCHEME = re.compile(r"\b(bearer|basic)\s{1,3}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_SECRET_KEY = re.compile(rf"{_SECRET_NAME}|authorization|cookie|\bdsn\b", re.IGNORECASE)

MASK = "[masked]"


def mask_text(text: str) -> str:
    """The text cut to `MAX_TEXT_LENGTH`, its secrets masked."""
    text = text[:_MAX_INPUT]
    text = _USER_INFO.sub(f"{MASK}@", text)
    text = _QUERY.sub(MASK, text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _PAIR.sub(rf"\1{MASK}", text)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]}…"


def mask_details(value: Any, depth: int = 0) -> Any:
    """The value as plain JSON, bounded, the texts in it masked, and whatever stands under a secret's name."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else mask_text(str(value))
    if isinstance(value, float):
        return value if value - value == 0.0 else str(value)
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return {
                (name := mask_text(str(key))): MASK if _SECRET_KEY.search(name) else mask_details(item, depth + 1)
                for key, item in list(value.items())[:_MAX_ITEMS]
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [mask_details(item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
    return mask_text(str(value))
