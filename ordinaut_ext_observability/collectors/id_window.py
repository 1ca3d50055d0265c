"""Reading a table with a serial key exactly once, although ids are not committed in order. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_MOST_MISSING = 5000


class IdWindow:
    """The highest id read, and the lower ones that were missing then.

    A missing id belongs to a transaction that is not committed yet, or was rolled back; it is asked for again until
    no transaction can be so old.
    """

    def __init__(self, *, lag_seconds: float = 120.0) -> None:
        self.highest: int | None = None
        """None before the baseline."""
        self._lag_seconds = lag_seconds
        self._missing: dict[int, float] = {}

    @property
    def missing(self) -> list[int]:
        """The ids to ask for again, in order."""
        return sorted(self._missing)

    def begin(self, newest: Iterable[int], now: float) -> None:
        """Count nothing that is there; `newest` are the highest ids without those in between that are not there."""
        ids = sorted(newest)
        self.highest = ids[-1] if ids else 0
        self._missing = {}
        if ids:
            self._note_missing(ids[0] - 1, ids, now)

    def advance(self, ids: Iterable[int], now: float) -> list[int]:
        """The ids not read before, of those read now: the missing ones that appeared, and all above the highest."""
        highest = self.highest or 0
        found = sorted(set(ids))
        above = [number for number in found if number > highest]
        late = [number for number in found if number in self._missing]
        for number in late:
            del self._missing[number]
        self._missing = {
            number: noticed for number, noticed in self._missing.items() if now - noticed < self._lag_seconds
        }
        if above:
            self._note_missing(highest, above, now)
            self.highest = above[-1]
        return late + above

    def dump(self) -> dict[str, Any]:
        """What `load` takes."""
        return {"highest": self.highest, "missing": list(self._missing.items())}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another stopped."""
        highest = state["highest"]
        self.highest = None if highest is None else int(highest)
        self._missing = {int(number): float(noticed) for number, noticed in state["missing"]}

    def _note_missing(self, before: int, ids: list[int], now: float) -> None:
        # From the top: a sequence that jumped by a million is not a million transactions.
        left = _MOST_MISSING - len(self._missing)
        for low, high in reversed(list(zip([before, *ids[:-1]], ids, strict=True))):
            first = max(low + 1, high - left)
            self._missing.update(dict.fromkeys(range(first, high), now))
            left -= high - first
            if left <= 0:
                return
