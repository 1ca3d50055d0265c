"""`due_work`: how much, how old, and who has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from ordinaut_ext_observability.collectors.connection import Reading, instant
from ordinaut_ext_observability.collectors.facts import QueueFacts
from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

MOST_COUNTED = 10_000
"""Rows counted one by one; beyond that the planner is asked."""


@dataclass(frozen=True, slots=True)
class SeenLease:
    """A leased row of `due_work`."""

    lease: Lease
    run_at: float
    live: bool
    """Whether the lease has not run out."""


@dataclass(frozen=True, slots=True)
class QueueReading:
    """The facts, and the leases that other readings need."""

    facts: QueueFacts
    leases: tuple[SeenLease, ...]


async def read_queue(reading: Reading, fresh_seconds: float, most_counted: int = MOST_COUNTED) -> QueueReading:
    """The queue now; a worker is alive if its heartbeat is at most `fresh_seconds` old."""
    row = await reading.row(
        "queue", instant(reading.now), most_counted + 1, instant(reading.now - fresh_seconds)
    )  # fmt: skip
    by_priority = {int(priority): int(rows) for priority, rows in orjson.loads(row["by_priority"] or "{}").items()}
    claimable, estimated = row["claimable"], row["rows"] > most_counted
    if estimated:
        claimable = max(claimable, await _estimate(reading) - row["in_progress"])
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
    )
    return QueueReading(facts, tuple(_lease(found, reading.now) for found in orjson.loads(row["leased"] or "[]")))


def show_queue(families: SystemMetrics, facts: QueueFacts) -> None:
    """The facts as numbers."""
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


async def _estimate(reading: Reading) -> int:
    (plan,) = orjson.loads(await reading.value("queue_estimate", instant(reading.now)))
    return int(plan["Plan"]["Plan Rows"])


def _lease(found: dict[str, Any], now: float) -> SeenLease:
    lease = Lease(
        found["id"], found["locked_by"] or "", found["task_id"], found["waiting_since"], found["locked_until"]
    )
    return SeenLease(lease, found["run_at"], found["locked_until"] >= now)
