"""Texts for people and settings, scrubbed whatever `ORDINAUT_OBS_SCRUB` says; and the scrubber under a known name."""

from __future__ import annotations

from typing import Any, ClassVar

from ordinaut_ext_observability.scrub.patterns import KINDS, compiled
from ordinaut_ext_observability.scrub.plain_values import MAX_SHORT_LENGTH, cut, plain_value
from ordinaut_ext_observability.scrub.scrubber import Scrubber

_scrubber = Scrubber()
scrub_text = _scrubber.text


class LogSanitizer:
    """Removes sensitive data from what is to be logged."""

    SENSITIVE_PATTERNS: ClassVar = {kind.name.lower(): compiled(kind.pattern) for kind in KINDS if kind.person}
    """Patterns of personal data by the kind in its marker. A match is looked at once more: see `KINDS`."""

    @classmethod
    def sanitize_data(cls, data: Any) -> Any:
        """The data, of the same types, with markers in place of secrets and personal data: `[REDACTED_EMAIL]`."""
        return _scrubber.value(data)


def mask_text(text: str) -> str:
    """The scrubbed text, cut to `MAX_SHORT_LENGTH`."""
    return cut(scrub_text(cut(text, MAX_SHORT_LENGTH)), MAX_SHORT_LENGTH)


def mask_value(text: str) -> str:
    """One value of a setting, scrubbed, on one line. In a URL everything before the last @ may be a password."""
    before, separator, after = text.partition("://")
    _, at, host = after.rpartition("@")
    text = f"{before}{separator}[REDACTED_PASSWORD]@{host}" if at else text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in mask_text(text))


def mask_details(value: Any) -> Any:
    """The value as plain JSON, scrubbed by names and values, and bounded."""
    return _scrubber.value(plain_value(value))
