"""Short texts for people, and settings: scrubbed whatever `ORDINAUT_OBS_SCRUB` says, and bounded."""

from __future__ import annotations

from typing import Any

from ordinaut_ext_observability.scrub.plain_values import plain_value
from ordinaut_ext_observability.scrub.scrubber import Scrubber

MAX_TEXT_LENGTH = 300
_MAX_INPUT = 4000

_scrubber = Scrubber()
scrub_text = _scrubber.text


def mask_text(text: str) -> str:
    """The scrubbed text, cut to `MAX_TEXT_LENGTH`."""
    if len(text) > _MAX_INPUT:
        # A word that was cut in the middle could hold half a secret that no pattern knows.
        whole, space, cut = text[:_MAX_INPUT].rpartition(" ")
        text = text[:_MAX_INPUT] if cut.isalnum() else f"{whole}{space}…"
    text = _scrubber.text(text).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]}…"


def mask_value(text: str) -> str:
    """One value of a setting, scrubbed, on one line. In a URL everything before the last @ may be a password."""
    before, separator, after = text.partition("://")
    _, at, host = after.rpartition("@")
    if at:
        text = f"{before}{separator}[REDACTED_PASSWORD]@{host}"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in mask_text(text))


def mask_details(value: Any) -> Any:
    """The value as plain JSON, scrubbed by names and values, and bounded."""
    return _cut(_scrubber.value(plain_value(value)))


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {mask_text(name): _cut(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return mask_text(value) if isinstance(value, str) else value
