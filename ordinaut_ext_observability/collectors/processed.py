"""Work items finished, from the counts that workers keep of themselves. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_MOST_WORKERS = 20_000


class WorkerCount(NamedTuple):
    """A row of `worker_heartbeat`; times are seconds since 1970."""

    worker: str
    processed: int
    created_at: float
    last_seen: float


@dataclass
class ProcessedCounter:
    """The highest count seen of each worker: a row that is deleted, or starts anew, takes nothing back."""

    began_at: float | None = None
    """None before the baseline."""
    before: int = 0
    """What had been processed when counting began."""
    counted: int = 0
    _highest: dict[str, tuple[int, float]] = field(default_factory=dict)

    def begin(self, now: float, before: int, rows: Iterable[WorkerCount]) -> None:
        """Count nothing of what is there."""
        self.began_at, self.before, self.counted = now, before, 0
        self._highest = {row.worker: (row.processed, row.last_seen) for row in rows}

    @property
    def total(self) -> int:
        """Items finished, by all workers there ever were."""
        return self.before + self.counted

    def advance(self, rows: Iterable[WorkerCount]) -> int:
        """Items finished since the last reading."""
        added = 0
        for row in rows:
            known = self._highest.get(row.worker)
            if known is None:
                # A worker that was there at the beginning, and silent for long, is at its baseline.
                old = self.began_at is not None and row.created_at < self.began_at
                highest = row.processed if old else 0
            else:
                highest = known[0]
            added += max(0, row.processed - highest)
            self._highest[row.worker] = (max(highest, row.processed), row.last_seen)
        self.counted += added
        self._forget()
        return added

    def dump(self) -> dict[str, Any]:
        """What `load` takes."""
        return {
            "began_at": self.began_at,
            "before": self.before,
            "counted": self.counted,
            "highest": [[worker, *known] for worker, known in self._highest.items()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another stopped."""
        self.began_at = state["began_at"]
        self.before, self.counted = int(state["before"]), int(state["counted"])
        self._highest = {
            str(worker): (int(processed), float(last_seen)) for worker, processed, last_seen in state["highest"]
        }

    def _forget(self) -> None:
        excess = len(self._highest) - _MOST_WORKERS
        if excess > 0:
            for worker in sorted(self._highest, key=lambda name: self._highest[name][1])[:excess]:
                del self._highest[worker]
