"""Reading a table with a serial key exactly once, although ids are not committed in order. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

_MOST_MISSING = 5000
"""Ids asked for again in one statement, which is as many rows of a primary key."""

_LAG_SECONDS = 120.0
"""Longest time that a transaction of the host's takes."""


@dataclass
class IdWindow:
    """The highest id read, and the lower ones that were missing then.

    A missing id belongs to a transaction that is not committed yet, or was rolled back; it is asked for again until
    no transaction can be so old.
    """

    highest: int | None = None
    """None before the baseline."""
    missing: dict[int, float] = field(default_factory=dict)
    """When each was missed first, in seconds since 1970."""

    @property
    def missing_ids(self) -> list[int]:
        """The ids to ask for again, in order."""
        return sorted(self.missing)

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
