"""Regular expressions in RE2's syntax, fully anchored, whose time is bounded."""

from __future__ import annotations

import re


def literals_of(pattern: str) -> frozenset[str] | None:
    """The texts that the pattern lists, as `a|b|c` does; None where it has more than texts."""
    return None if re.search(r"[\\.+*?()\[\]{}^$]", pattern) else frozenset(pattern.split("|"))


def compile_regex(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)
