"""Which of Ordinaut's two applications is meant."""

from __future__ import annotations

from enum import Enum


class HostShape(Enum):
    """Ordinaut's two applications."""

    LEAN = "lean"
    FULL = "full"
