"""Which format and which encoding a scraper gets, from its Accept and Accept-Encoding headers.

A header that cannot be read, or asks only for what we do not have, gets text 0.0.4 uncompressed: a scrape never fails
over a header.
"""

from __future__ import annotations

from enum import Enum

_MAX_HEADER_LENGTH = 2048
_MAX_ENTRIES = 32


class Format(Enum):
    """An exposition format, with the content type it is served under."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def choose_format(accept: str) -> Format:
    """OpenMetrics 1.0 where the client prefers it to plain text, else text 0.0.4."""
    openmetrics = text = anything = 0.0
    for media_type, parameters, quality in _entries(accept):
        if media_type == "application/openmetrics-text":
            if parameters.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
                openmetrics = max(openmetrics, quality)
        elif media_type in ("text/plain", "text/*"):
            text = max(text, quality)
        elif media_type == "*/*":
            anything = max(anything, quality)
    text = text or anything
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= text else Format.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip; naming `identity` or nothing means it does not."""
    gzip = wildcard = None
    for coding, _, quality in _entries(accept_encoding):
        if coding in ("gzip", "x-gzip"):
            gzip = quality
        elif coding == "*":
            wildcard = quality
    return bool(gzip if gzip is not None else wildcard)


def _entries(header: str) -> list[tuple[str, dict[str, str], float]]:
    """The comma-separated entries of a header: value, parameters, quality; unreadable entries have quality 0."""
    entries = []
    for entry in header[:_MAX_HEADER_LENGTH].split(",", _MAX_ENTRIES)[:_MAX_ENTRIES]:
        value, *parts = entry.split(";")
        parameters = {}
        for part in parts:
            name, _, text = part.partition("=")
            parameters[name.strip().lower()] = text.strip().strip('"')
        entries.append((value.strip().lower(), parameters, _quality(parameters.get("q", "1"))))
    return entries


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
