"""`worker_heartbeat`: who is alive, and how much was done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ordinaut_ext_observability.collectors.connection import Reading, instant
from ordinaut_ext_observability.collectors.facts import WorkerFacts
from ordinaut_ext_observability.collectors.processed import ProcessedCounter, WorkerCount
from ordinaut_ext_observability.collectors.queue import SeenLease
from ordinaut_ext_observability.collectors.windows import WindowCounts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_LOOK_BACK_SECONDS = 86_400.0
"""How long ago a worker may have given its last sign of life to be known at the beginning."""

_SLACK_SECONDS = 300.0
"""How long a heartbeat may take to be committed."""


class WorkersCollector:
    """Reads the heartbeats and counts what workers finish."""

    def __init__(self, families: SystemMetrics, fresh_seconds: float) -> None:
        self.heartbeats: dict[str, float] = {}
        """When each worker whose heartbeat is fresh gave it."""
        self.rows = 0
        self._families = families
        self._fresh_seconds = fresh_seconds
        self.reset()

    def reset(self) -> None:
        """Begin with nothing counted."""
        self._counter = ProcessedCounter()
        self._window = WindowCounts()
        self._read_until: float | None = None

    async def read(self, reading: Reading, leases: Iterable[SeenLease]) -> WorkerFacts:
        """The workers now; what they finished since the last reading is counted."""
        fresh = await reading.rows("workers", instant(reading.now - self._fresh_seconds))
        first = self._read_until is None
        since = reading.now - _LOOK_BACK_SECONDS if self._read_until is None else self._read_until - _SLACK_SECONDS
        rows = [WorkerCount(**row) for row in await reading.rows("processed", instant(since))]
        before = await reading.value("processed_before") if first else 0
        # From here on nothing waits: what is counted and up to where belong together.
        self.rows = len(fresh) + len(rows)
        self._read_until = reading.now
        # A heartbeat further in the future than clocks differ is no sign of life: it would be one for ever.
        latest = reading.now + self._fresh_seconds
        self.heartbeats = {row["worker_id"]: row["last_seen"] for row in fresh if row["last_seen"] <= latest}
        self._families.count_odd_rows("workers", len(fresh) - len(self.heartbeats))
        if first:
            self._counter.begin(reading.now, before, rows)
        else:
            added = self._counter.advance(rows)
            self._families.processed.labels().inc(added)
            self._window.add(reading.now, successes=added)
        ages = [max(0.0, reading.now - last_seen) for last_seen in self.heartbeats.values()]
        return WorkerFacts(
            active=len(self.heartbeats),
            busy=len({seen.lease.owner for seen in leases if seen.live or seen.lease.owner in self.heartbeats}),
            newest_heartbeat_age_seconds=min(ages, default=None),
            oldest_heartbeat_age_seconds=max(ages, default=None),
            processed_total=self._counter.total,
        )

    def show(self, facts: WorkerFacts, leases: Iterable[SeenLease], now: float) -> None:
        """The facts as numbers."""
        families = self._families
        owners = {seen.lease.owner for seen in leases}
        families.workers.labels("busy").set(facts.busy)
        families.workers.labels("idle").set(len(self.heartbeats.keys() - owners))
        families.active_workers.labels().set(facts.active)
        for which, age in (
            ("newest", facts.newest_heartbeat_age_seconds),
            ("oldest", facts.oldest_heartbeat_age_seconds),
        ):
            if age is None:
                families.heartbeat_age.remove(which)
            else:
                families.heartbeat_age.labels(which).set(age)
        for window, (items, _) in self._window.sums(now).items():
            families.items_finished.labels(window).set(items)

    def dump(self) -> dict[str, Any]:
        """What `load` takes."""
        return {"counter": self._counter.dump(), "window": self._window.dump(), "read_until": self._read_until}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another process stopped."""
        self._counter.load(state["counter"])
        self._window.load(state["window"])
        self._read_until = state["read_until"]
