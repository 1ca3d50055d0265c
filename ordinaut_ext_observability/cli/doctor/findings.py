"""What the doctor says."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import NamedTuple


class Kind(Enum):
    """How a finding is to be taken: nothing to do; it could work better; it does not work."""

    FACT = "fact"
    ADVICE = "advice"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One thing found: what was seen, what to do about it, and a text to paste (a shell line, YAML, a URL)."""

    kind: Kind
    sign: str
    remedy: str = ""
    paste: str = ""


fact = partial(Finding, Kind.FACT)
advice = partial(Finding, Kind.ADVICE)
problem = partial(Finding, Kind.PROBLEM)
