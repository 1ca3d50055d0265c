"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a finding is to be taken: nothing to do; it could work better; it does not work."""

    FACT = "fact"
    ADVICE = "advice"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: what was seen, what to do about it, and a text to paste (a shell line, YAML, a URL)."""

    kind: Kind
    sign: str
    remedy: str = ""
    paste: str = ""


def fact(sign: str) -> Finding:
    return Finding(Kind.FACT, sign)


def advice(sign: str, remedy: str = "", paste: str = "") -> Finding:
    return Finding(Kind.ADVICE, sign, remedy, paste)


def problem(sign: str, remedy: str = "", paste: str = "") -> Finding:
    return Finding(Kind.PROBLEM, sign, remedy, paste)
