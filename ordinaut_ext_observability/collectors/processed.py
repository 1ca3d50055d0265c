"""Work items finished, from the counts that workers keep of themselves. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

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
    highest: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By worker, with its last sign of life."""

    def begin(self, now: float, before: int, rows: Iterable[WorkerCount]) -> None:
        """Count nothing of what is there."""
        self.began_at, self.before, self.counted = now, before, 0
        self.highest = {row.worker: (row.processed, row.last_seen) for row in rows}

    @property
    def total(self) -> int:
        """Items finished, by all workers there ever were."""
        return self.before + self.counted

    def advance(self, rows: Iterable[WorkerCount]) -> int:
        """Items finished since the last reading."""
        added = 0
        for row in rows:
            known = self.highest.get(row.worker)
            if known is None:
                # A worker that was there at the beginning, and silent for long, is at its baseline.
                old = self.began_at is not None and row.created_at < self.began_at
                highest = row.processed if old else 0
            else:
                highest = known[0]
            added += max(0, row.processed - highest)
            self.highest[row.worker] = (max(highest, row.processed), row.last_seen)
        self.counted += added
        if len(self.highest) > _MOST_WORKERS:
            newest = sorted(self.highest.items(), key=lambda item: item[1][1])[-_MOST_WORKERS:]
            self.highest = dict(newest)
        return added
