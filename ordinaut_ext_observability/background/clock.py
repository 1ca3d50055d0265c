"""The two clocks: one for durations, one for instants. Nothing else in the package reads the time."""

from __future__ import annotations

import time
from typing import Protocol

# Bound once: the request path calls these hundreds of thousands of times a second.
monotonic_seconds = time.perf_counter
"""Seconds since an arbitrary point, never going back: for durations."""

wall_seconds = time.time
"""Seconds since 1970-01-01T00:00:00Z: for instants that leave the process."""

thread_cpu_seconds = time.thread_time
"""CPU seconds the calling thread has used."""


class Clock(Protocol):
    """Time as injected into whatever waits or ages, so that tests can advance it."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going back."""

    def wall(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(monotonic_seconds)
    wall = staticmethod(wall_seconds)
