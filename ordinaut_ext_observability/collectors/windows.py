"""How much happened in the last minute, hour and day: sixty buckets each, in memory. Without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_BUCKETS = 60


@dataclass
class WindowCounts:
    """Successes and failures by when they happened; what is older than a day is dropped."""

    buckets: dict[str, dict[int, tuple[int, int]]] = field(
        default_factory=lambda: {name: {} for name in WINDOW_SECONDS}
    )

    def add(self, at: float, *, successes: int = 0, failures: int = 0) -> None:
        """Count what happened at this time, in seconds since 1970."""
        for name, seconds in WINDOW_SECONDS.items():
            number = int(at // (seconds / _BUCKETS))
            before = self.buckets[name].get(number, (0, 0))
            self.buckets[name][number] = (before[0] + successes, before[1] + failures)

    def sums(self, now: float) -> dict[str, tuple[int, int]]:
        """Successes and failures in each window that ends now."""
        found = {}
        for name, seconds in WINDOW_SECONDS.items():
            oldest = int((now - seconds) // (seconds / _BUCKETS))
            kept = {number: counts for number, counts in self.buckets[name].items() if number > oldest}
            self.buckets[name] = kept
            found[name] = (sum(counts[0] for counts in kept.values()), sum(counts[1] for counts in kept.values()))
        return found
