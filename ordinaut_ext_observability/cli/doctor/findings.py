"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a finding is to be taken."""

    FACT = "fact"
    """As it is; nothing to do."""
    ADVICE = "advice"
    """It works, and could work better."""
    PROBLEM = "problem"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found."""

    kind: Kind
    sign: str
    """What was seen, and where."""
    remedy: str = ""
    """What to do about it; empty for facts."""
    paste: str = ""
    """The text to paste: a shell line, YAML, a URL."""


@dataclass(frozen=True, slots=True)
class Section:
    """Findings about one thing."""

    title: str
    findings: list[Finding]


def fact(sign: str) -> Finding:
    """A finding with nothing to do about it."""
    return Finding(Kind.FACT, sign)
