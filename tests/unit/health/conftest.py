"""Clocks that tests move, and what ends functions that hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest


class ManualClock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.monotonic_now = 1000.0
        self.wall_now = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.monotonic_now

    def wall(self) -> float:
        return self.wall_now

    def advance(self, seconds: float) -> None:
        self.monotonic_now += seconds
        self.wall_now += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set at the end of the test: what hangs waits for it."""
    event = threading.Event()
    yield event
    event.set()
