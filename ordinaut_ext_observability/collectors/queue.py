"""`due_work`: how much, how old, who has it, and how late it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from ordinaut_ext_observability.collectors.connection import ReadTransaction, instant
from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.collectors.states import QueueFacts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_MOST_COUNTED = 10_000
"""Rows counted one by one, which takes milliseconds; beyond that the planner is asked."""

_MOST_OBSERVED = 1000
"""The newest of a reading: a sample is enough."""

_LEASE_SECONDS = 60.0
"""Time for which a worker of the host's leases work."""


async def read_queue(transaction: ReadTransaction, families: SystemMetrics, fresh_seconds: float) -> QueueFacts:
    """Read and show the queue; a worker is alive if its heartbeat is at most `fresh_seconds` old."""
    now = transaction.now
    row = await transaction.row("queue", instant(now), _MOST_COUNTED + 1, instant(now - fresh_seconds))
    by_priority: dict[str, int] = orjson.loads(row["by_priority"] or "{}")
    claimable, estimated = row["claimable"], row["rows"] > _MOST_COUNTED
    if estimated:
        (plan,) = orjson.loads(await transaction.value("queue_estimate", instant(now)))
        claimable = max(claimable, int(plan["Plan"]["Plan Rows"]) - row["in_progress"])
        share = claimable / max(1, row["claimable"])
        by_priority = {priority: round(rows * share) for priority, rows in by_priority.items()}
    facts = QueueFacts(
        claimable=claimable,
        claimable_is_estimate=estimated,
        oldest_claimable_age_seconds=max(0.0, row["oldest_age"] or 0.0),
        claimable_by_priority=by_priority,
        in_progress=row["in_progress"],
        expired_owner_alive=row["expired_alive"],
        expired_owner_dead=row["expired_dead"],
        leases=tuple(Lease(**found) for found in orjson.loads(row["leased"] or "[]")),
    )
    _show(families, facts)
    return facts


def _show(families: SystemMetrics, facts: QueueFacts) -> None:
    families.queue_depth.labels().set(facts.claimable)
    families.depth_is_estimate.labels().set(facts.claimable_is_estimate)
    families.oldest_age.labels().set(facts.oldest_claimable_age_seconds)
    families.scheduler_lag.labels().set(facts.oldest_claimable_age_seconds)
    families.in_progress.labels().set(facts.in_progress)
    families.expired_leases.labels("alive").set(facts.expired_owner_alive)
    families.expired_leases.labels("dead").set(facts.expired_owner_dead)
    # `all` is what Ordinaut's rules and dashboards ask for.
    families.due_work_queue_depth.labels("all").set(facts.claimable)
    for priority in map(str, range(1, 10)):
        families.due_work_queue_depth.labels(priority).set(facts.claimable_by_priority.get(priority, 0))


@dataclass
class DriftCollector:
    """Observes how late work is: each row it sees once when it was queued and once when it was leased.

    That is a sample of what passes through, since rows vanish when the work is done. Its fields are its state.
    """

    highest: int | None = None
    """The highest id seen; None before the first reading."""
    leased: set[int] = field(default_factory=set)

    async def read(self, transaction: ReadTransaction, families: SystemMetrics, leases: Iterable[Lease]) -> None:
        """Observe what is new."""
        held = {lease.item: lease for lease in leases}
        if self.highest is None:
            self.highest, self.leased = await transaction.value("queued_newest"), set(held)
            return
        queued = await transaction.rows("queued", self.highest, _MOST_OBSERVED)
        fresh = [
            lease for item, lease in held.items() if item not in self.leased and lease.locked_until >= transaction.now
        ][:_MOST_OBSERVED]
        tasks = await transaction.rows("tasks_known", [lease.task for lease in fresh]) if fresh else []
        kinds = {str(row["id"]): row["kind"] for row in tasks}
        families.collector_rows.labels("drift").set(len(queued) + len(kinds))
        for row in queued:
            if row["late"] is not None:
                families.drift.labels(row["kind"], "queued").observe(max(0.0, row["late"]))
        families.count_odd_rows("drift", sum(row["late"] is None for row in queued))
        for lease in fresh:
            began = min(lease.locked_until - _LEASE_SECONDS, transaction.now)  # however long it was leased for
            families.drift.labels(kinds.get(lease.task, ""), "leased").observe(max(0.0, began - lease.run_at))
        self.highest = max([self.highest, *(row["id"] for row in queued)])
        self.leased = set(held)
