"""`worker_heartbeat`: who is alive, and how much was done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ordinaut_ext_observability.collectors.connection import ReadTransaction, instant
from ordinaut_ext_observability.collectors.facts import WorkerFacts
from ordinaut_ext_observability.collectors.processed import ProcessedCounter, WorkerCount
from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.collectors.windows import WindowCounts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_LOOK_BACK_SECONDS = 86_400.0
"""How long ago a worker may have given its last sign of life to be known at the beginning."""

_SLACK_SECONDS = 300.0
"""How long a heartbeat may take to be committed."""


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
