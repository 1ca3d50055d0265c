"""`due_work`: how much, how old, and who has it."""

from __future__ import annotations

from typing import Any

import orjson

from ordinaut_ext_observability.collectors.connection import ReadTransaction, instant
from ordinaut_ext_observability.collectors.facts import QueueFacts
from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_MOST_COUNTED = 10_000
"""Rows counted one by one, which takes milliseconds; beyond that the planner is asked."""


async def read_queue(transaction: ReadTransaction, families: SystemMetrics, fresh_seconds: float) -> QueueFacts:
    """Read and show the queue; a worker is alive if its heartbeat is at most `fresh_seconds` old."""
    now = transaction.now
    row = await transaction.row("queue", instant(now), _MOST_COUNTED + 1, instant(now - fresh_seconds))
    by_priority = {int(priority): int(rows) for priority, rows in orjson.loads(row["by_priority"] or "{}").items()}
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
        leases=tuple(map(_lease, orjson.loads(row["leased"] or "[]"))),
    )
    _show(families, facts)
    return facts


def _lease(found: dict[str, Any]) -> Lease:
    return Lease(
        found["id"],
        found["locked_by"] or "",
        found["task_id"],
        found["waiting_since"],
        found["locked_until"],
        found["run_at"],
    )


def _show(families: SystemMetrics, facts: QueueFacts) -> None:
    families.queue_depth.labels().set(facts.claimable)
    families.depth_is_estimate.labels().set(facts.claimable_is_estimate)
    families.oldest_age.labels().set(facts.oldest_claimable_age_seconds)
    families.scheduler_lag.labels().set(facts.oldest_claimable_age_seconds)
    families.in_progress.labels().set(facts.in_progress)
    families.expired_leases.labels("alive").set(facts.expired_owner_alive)
    families.expired_leases.labels("dead").set(facts.expired_owner_dead)
    # `all` is what Ordinaut's rules and dashboards ask for.
    shown = {"all": facts.claimable}
    shown |= {str(priority): facts.claimable_by_priority.get(priority, 0) for priority in range(1, 10)}
    for priority, depth in shown.items():
        families.due_work_queue_depth.labels(priority).set(depth)
