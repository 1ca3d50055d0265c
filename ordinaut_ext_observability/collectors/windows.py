"""Two windows over what happens, without I/O: ids read exactly once, and counts of the last minute, hour and day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

_MOST_MISSING = 5000
"""Ids asked for again in one statement, which is as many rows of a primary key."""

_LAG_SECONDS = 120.0
"""Longest time that a transaction of the host's takes."""

WINDOW_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_BUCKETS = 60
"""Each window has so many parts, and moves on by one of them."""


@dataclass
class IdWindow:
    """Reads a table with a serial key exactly once, although ids are not committed in order.

    A lower id that was missing when a higher one was read belongs to a transaction that is not committed yet, or was
    rolled back; it is asked for again until no transaction can be so old.
    """

    highest: int | None = None
    """None before the baseline."""
    missing: dict[int, float] = field(default_factory=dict)
    """When each was missed first, in seconds since 1970."""

    def begin(self, newest: Iterable[int], now: float) -> None:
        """Count nothing that is there; `newest` are the highest ids without those in between that are not there."""
        ids = sorted(newest)
        self.highest = ids[-1] if ids else 0
        self.missing = {}
        if ids:
            self._note_missing(ids[0] - 1, ids, now)

    def advance(self, ids: Iterable[int], now: float) -> list[int]:
        """The ids not read before, of those read now: the missing ones that appeared, and all above the highest."""
        highest = self.highest or 0
        found = sorted(set(ids))
        above = [number for number in found if number > highest]
        late = [number for number in found if number in self.missing]
        for number in late:
            del self.missing[number]
        self.missing = {number: noticed for number, noticed in self.missing.items() if now - noticed < _LAG_SECONDS}
        if above:
            self._note_missing(highest, above, now)
            self.highest = above[-1]
        return late + above

    def _note_missing(self, before: int, ids: list[int], now: float) -> None:
        # From the top: a sequence that jumped by a million is not a million transactions.
        left = _MOST_MISSING - len(self.missing)
        for low, high in reversed(list(zip([before, *ids[:-1]], ids, strict=True))):
            first = max(low + 1, high - left)
            self.missing.update(dict.fromkeys(range(first, high), now))
            left -= high - first
            if left <= 0:
                return


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
