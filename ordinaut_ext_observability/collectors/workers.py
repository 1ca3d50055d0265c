"""`worker_heartbeat`: who is alive, and how much was done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ordinaut_ext_observability.collectors.connection import ReadTransaction, instant
from ordinaut_ext_observability.collectors.facts import WorkerFacts
from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.collectors.windows import WindowCounts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_LOOK_BACK_SECONDS = 86_400.0
"""A worker whose last sign of life is older is not known at the beginning."""

_SLACK_SECONDS = 300.0
"""Longest time that a heartbeat takes to be committed."""

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
    """Items finished before counting began."""
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


@dataclass
class WorkersCollector:
    """Reads the heartbeats and counts what workers finish. Its fields are the state that a next leader goes on from."""

    counter: ProcessedCounter = field(default_factory=ProcessedCounter)
    window: WindowCounts = field(default_factory=WindowCounts)
    read_until: float | None = None

    async def read(
        self, transaction: ReadTransaction, families: SystemMetrics, leases: Iterable[Lease], fresh_seconds: float
    ) -> WorkerFacts:
        """Read and show the workers; what they finished since the last reading is counted."""
        now = transaction.now
        fresh = await transaction.rows("workers", instant(now - fresh_seconds))
        since = now - _LOOK_BACK_SECONDS if self.read_until is None else self.read_until - _SLACK_SECONDS
        rows = [WorkerCount(**row) for row in await transaction.rows("processed", instant(since))]
        before = await transaction.value("processed_before") if self.read_until is None else 0
        # From here on nothing waits: what is counted and up to where belong together.
        families.collector_rows.labels("workers").set(len(fresh) + len(rows))
        # A heartbeat further in the future than clocks differ is no sign of life: it would be one for ever.
        heartbeats = {row["worker_id"]: row["last_seen"] for row in fresh if row["last_seen"] <= now + fresh_seconds}
        families.count_odd_rows("workers", len(fresh) - len(heartbeats))
        if self.read_until is None:
            self.counter.begin(now, before, rows)
        else:
            added = self.counter.advance(rows)
            families.processed.labels().inc(added)
            self.window.add(now, successes=added)
        self.read_until = now
        ages = [max(0.0, now - last_seen) for last_seen in heartbeats.values()]
        facts = WorkerFacts(
            active=len(heartbeats),
            busy=len({lease.owner for lease in leases if lease.locked_until >= now or lease.owner in heartbeats}),
            newest_heartbeat_age_seconds=min(ages, default=None),
            oldest_heartbeat_age_seconds=max(ages, default=None),
            processed_total=self.counter.total,
            heartbeats=heartbeats,
        )
        self._show(now, families, facts, idle=len(heartbeats.keys() - {lease.owner for lease in leases}))
        return facts

    def _show(self, now: float, families: SystemMetrics, facts: WorkerFacts, idle: int) -> None:
        families.workers.replace({("busy",): facts.busy, ("idle",): idle})
        families.active_workers.labels().set(facts.active)
        ages = {("newest",): facts.newest_heartbeat_age_seconds, ("oldest",): facts.oldest_heartbeat_age_seconds}
        families.heartbeat_age.replace({which: age for which, age in ages.items() if age is not None})
        for name, (items, _) in self.window.sums(now).items():
            families.items_finished.labels(name).set(items)
