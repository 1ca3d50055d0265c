"""Negotiation of a scrape's format, escaping and encoding, from its Accept and Accept-Encoding headers.

A header that cannot be read, or asks only for what we do not have, gets text 0.0.4 uncompressed.
"""

from __future__ import annotations

from typing import NamedTuple

from ordinaut_ext_observability.metrics.exposition import ESCAPINGS, UNDERSCORES

_MAX_HEADER_LENGTH = 2048
_MAX_ENTRIES = 32
_ESCAPING_VERSION = "1.0.0"  # of both formats: the first that says how names are escaped


class Format(NamedTuple):
    """An exposition format."""

    openmetrics: bool = False
    escaping: str = ""
    """Scheme for names with characters that only newer scrapers read; empty where the scraper knows of none."""

    @property
    def name(self) -> str:
        return "openmetrics" if self.openmetrics else "text"

    @property
    def content_type(self) -> str:
        """The content type it is served under: the one `prometheus_client` has for the same request."""
        kind = "application/openmetrics-text" if self.openmetrics else "text/plain"
        version = _ESCAPING_VERSION if self.openmetrics or self.escaping else "0.0.4"
        escaping = f"; escaping={self.escaping}" if self.escaping else ""
        return f"{kind}; version={version}; charset=utf-8{escaping}"


TEXT = Format()
OPENMETRICS = Format(openmetrics=True)


def choose_format(accept: str) -> Format:
    """OpenMetrics 1.0 where the client prefers it to plain text, else text: 1.0.0 where that is preferred, or 0.0.4."""
    openmetrics, openmetrics_quality = OPENMETRICS, 0.0
    text, text_quality = TEXT, 0.0
    anything = 0.0
    for media_type, parameters, quality in _entries(accept):
        version = parameters.get("version")
        if media_type == "application/openmetrics-text":
            if version in (None, _ESCAPING_VERSION, "0.0.1") and quality > openmetrics_quality:
                openmetrics, openmetrics_quality = Format(openmetrics=True, escaping=_escaping(parameters)), quality
        elif media_type in ("text/plain", "text/*"):
            if quality > text_quality:
                text, text_quality = Format(escaping=_escaping(parameters)), quality
        elif media_type == "*/*":
            anything = max(anything, quality)
    preferred = openmetrics_quality > 0 and openmetrics_quality >= (text_quality or anything)
    return openmetrics if preferred else text


def _escaping(parameters: dict[str, str]) -> str:
    if parameters.get("version") != _ESCAPING_VERSION:
        return ""
    asked = parameters.get("escaping")
    return asked if asked in ESCAPINGS else UNDERSCORES


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell if the client takes gzip; naming `identity` or nothing means it does not."""
    qualities = {coding.removeprefix("x-"): quality for coding, _, quality in _entries(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _entries(header: str) -> list[tuple[str, dict[str, str], float]]:
    """The comma-separated entries of a header: value, parameters, quality; unreadable entries have quality 0."""
    entries = []
    for entry in header[:_MAX_HEADER_LENGTH].split(",", _MAX_ENTRIES)[:_MAX_ENTRIES]:
        value, *parts = entry.split(";")
        parameters = {}
        for part in parts:
            name, _, text = part.partition("=")
            parameters[name.strip().lower()] = text.strip().strip('"')
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        entries.append((value.strip().lower(), parameters, quality if 0.0 <= quality <= 1.0 else 0.0))
    return entries
