"""The two clocks: one for durations, one for instants. Nothing else in the package reads the time."""

from __future__ import annotations

import time

# Bound once: the request path calls these hundreds of thousands of times a second.
monotonic_seconds = time.perf_counter
"""Seconds since an arbitrary point, never going back: for durations."""

wall_seconds = time.time
"""Seconds since 1970-01-01T00:00:00Z: for instants that leave the process."""

thread_cpu_seconds = time.thread_time
"""CPU seconds the calling thread has used."""


class Clock:
    """Time as injected into whatever waits or ages, so that tests can advance another."""

    monotonic = staticmethod(monotonic_seconds)
    wall = staticmethod(wall_seconds)
