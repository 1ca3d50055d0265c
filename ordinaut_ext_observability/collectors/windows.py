"""How much happened in the last minute, hour and day: sixty buckets each, in memory. Without I/O."""

from __future__ import annotations

from typing import Any

WINDOW_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_BUCKETS = 60


class WindowCounts:
    """Successes and failures by when they happened; what is older than a day is forgotten."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[int, list[int]]] = {name: {} for name in WINDOW_SECONDS}

    def add(self, at: float, *, successes: int = 0, failures: int = 0) -> None:
        """Count what happened at this time, in seconds since 1970."""
        for name, seconds in WINDOW_SECONDS.items():
            bucket = self._buckets[name].setdefault(int(at // (seconds / _BUCKETS)), [0, 0])
            bucket[0] += successes
            bucket[1] += failures

    def sums(self, now: float) -> dict[str, tuple[int, int]]:
        """Successes and failures in each window that ends now."""
        found = {}
        for name, seconds in WINDOW_SECONDS.items():
            oldest = int((now - seconds) // (seconds / _BUCKETS))
            kept = {number: counts for number, counts in self._buckets[name].items() if number > oldest}
            self._buckets[name] = kept
            found[name] = (sum(counts[0] for counts in kept.values()), sum(counts[1] for counts in kept.values()))
        return found

    def dump(self) -> dict[str, Any]:
        """What `load` takes."""
        return {name: [[number, *counts] for number, counts in held.items()] for name, held in self._buckets.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another stopped."""
        for name in WINDOW_SECONDS:
            self._buckets[name] = {
                int(number): [int(successes), int(failures)] for number, successes, failures in state[name]
            }
