"""`worker_heartbeat`: who is alive, and how much was done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import asyncpg

from ordinaut_ext_observability.collectors.connection import ReadTransaction, instant
from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.collectors.states import WorkerFacts
from ordinaut_ext_observability.collectors.windows import WindowCounts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_LOOK_BACK_SECONDS = 86_400.0
"""A worker whose last sign of life is older is not known at the beginning."""

_SLACK_SECONDS = 300.0
"""Longest time that a heartbeat takes to be committed."""

_MOST_WORKERS = 20_000


@dataclass
class WorkersCollector:
    """Reads the heartbeats and counts what workers finish. Its fields are the state that a next leader goes on from.

    A row that is deleted, or starts anew, takes nothing back.
    """

    began_at: float = 0.0
    read_until: float | None = None
    """None before the baseline."""
    total: int = 0
    """Items finished, by all workers there ever were."""
    highest: dict[str, tuple[int, float]] = field(default_factory=dict)
    """The highest count seen of each worker, with its last sign of life."""
    window: WindowCounts = field(default_factory=WindowCounts)

    async def read(
        self, transaction: ReadTransaction, families: SystemMetrics, leases: Iterable[Lease], fresh_seconds: float
    ) -> WorkerFacts:
        """Read and show the workers; what they finished since the last reading is counted."""
        now = transaction.now
        fresh = await transaction.rows("workers", instant(now - fresh_seconds))
        since = now - _LOOK_BACK_SECONDS if self.read_until is None else self.read_until - _SLACK_SECONDS
        rows = await transaction.rows("processed", instant(since))
        first = self.read_until is None
        before = await transaction.value("processed_before") if first else 0
        # From here on nothing waits: what is counted and up to where belong together.
        families.collector_rows.labels("workers").set(len(fresh) + len(rows))
        # A heartbeat further in the future than clocks differ is no sign of life: it would be one for ever.
        heartbeats = {row["worker_id"]: row["last_seen"] for row in fresh if row["last_seen"] <= now + fresh_seconds}
        families.count_odd_rows("workers", len(fresh) - len(heartbeats))
        if first:
            self.begin(now, before, rows)
        else:
            added = self.advance(rows)
            families.processed.labels().inc(added)
            self.window.add(now, successes=added)
        self.read_until = now
        ages = [max(0.0, now - last_seen) for last_seen in heartbeats.values()]
        facts = WorkerFacts(
            active=len(heartbeats),
            busy=len({lease.owner for lease in leases if lease.locked_until >= now or lease.owner in heartbeats}),
            newest_heartbeat_age_seconds=min(ages, default=None),
            oldest_heartbeat_age_seconds=max(ages, default=None),
            processed_total=self.total,
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

    def begin(self, now: float, before: int, rows: Iterable[asyncpg.Record]) -> None:
        """Count nothing of what is there: these rows, and `before` items in all."""
        self.began_at, self.total = now, before
        self.highest = {worker: (processed, last_seen) for worker, processed, _, last_seen in rows}

    def advance(self, rows: Iterable[asyncpg.Record]) -> int:
        """Items finished since the last reading."""
        added = 0
        for worker, processed, created_at, last_seen in rows:
            # A worker that was there at the beginning, and silent for long, is at its baseline.
            baseline = processed if created_at < self.began_at else 0
            highest, _ = self.highest.get(worker, (baseline, 0.0))
            added += max(0, processed - highest)
            self.highest[worker] = (max(highest, processed), last_seen)
        self.total += added
        if len(self.highest) > _MOST_WORKERS:
            self.highest = dict(sorted(self.highest.items(), key=lambda item: item[1][1])[-_MOST_WORKERS:])
        return added
