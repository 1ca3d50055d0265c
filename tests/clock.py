"""The clock of all tests that wait for nothing."""

from __future__ import annotations


class ManualClock:
    """Both clocks, moved by hand: together as time goes on, or by `set_by` the one that can be set."""

    def __init__(self) -> None:
        self.now = 10_000.0
        self.set_by = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.set_by

    def advance(self, seconds: float) -> None:
        self.now += seconds
