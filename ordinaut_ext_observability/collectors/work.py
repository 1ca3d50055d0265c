"""Readers of work: how much waits, who has it and how late it is (`due_work`); what ended, once (`task_run`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from ordinaut_ext_observability.collectors.connection import ReadTransaction, instant
from ordinaut_ext_observability.collectors.runs import Lease, Run, RunCounter
from ordinaut_ext_observability.collectors.states import QueueFacts
from ordinaut_ext_observability.collectors.windows import WindowCounts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_MOST_COUNTED = 10_000
"""Rows counted one by one, which takes milliseconds; beyond that the planner is asked."""

_MOST_OBSERVED = 1000
"""The newest of a reading: a sample is enough."""

_LEASE_SECONDS = 60.0
"""Time for which a worker of the host's leases work."""

_MOST_ROWS = 20_000
"""Rows of the window in one reading; after a long pause the rest is read the next time."""

_MOST_ROWS_EVER = 200_000
"""Rows of the first reading, whose rest the second would count; and where as many runs began at the same instant."""

_MOST_SKIPPED = 1_000_000
_SKEW_SECONDS = 3600.0
"""By how much the clocks of workers and server may differ: what begins or ends later than that has no known time."""

_UPPER_HALF = 64


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


@dataclass
class RunsCollector:
    """Counts the runs that ended since the last reading. Its fields are the state that the next leader goes on from."""

    counter: RunCounter = field(default_factory=RunCounter)
    window: WindowCounts = field(default_factory=WindowCounts)
    most_rows: int = _MOST_ROWS

    async def read(
        self,
        transaction: ReadTransaction,
        families: SystemMetrics,
        leases: Sequence[Lease],
        heartbeats: Mapping[str, float],
    ) -> None:
        """Count what ended, given the leases of the same moment, or of one before."""
        now = transaction.now
        plan = self.counter.plan(now, leases)
        most = _MOST_ROWS_EVER if self.counter.read_until is None else self.most_rows
        window = await transaction.rows("runs_window", instant(plan.since), most)
        found = list(window)
        if plan.brackets:
            brackets = ((each.task, instant(each.since), instant(each.until)) for each in plan.brackets)
            found += await transaction.rows("runs_late", *map(list, zip(*brackets, strict=True)))
        # Those from the future are read when their time has come.
        rows = {row["id"].int >> _UPPER_HALF: row for row in found if row["started_at"] <= now + _SKEW_SECONDS}
        skipped = 0
        if plan.skipped is not None:
            skipped = await transaction.value("runs_skipped", *map(instant, plan.skipped), _MOST_SKIPPED)
        tasks = await self._tasks(transaction, rows)
        # From here on nothing waits: what is counted and up to where belong together.
        families.collector_rows.labels("runs").set(len(rows))
        full = len(window) == most
        before = self.counter.unaccounted
        fresh = self.counter.finish(
            plan,
            leases,
            [
                Run(number, str(row["task_id"]), row["lease_owner"] or "", row["started_at"], bool(row["success"]))
                for number, row in rows.items()
            ],
            heartbeats=heartbeats,
            read_until=min(window[-1]["started_at"], now) if full else None,
        )
        # A full window without anything new would be the same the next time.
        self.most_rows = min(2 * most, _MOST_ROWS_EVER) if full and not fresh else _MOST_ROWS
        odd = sum(row["started_at"] > now + _SKEW_SECONDS for row in found)
        for row in (rows[run.id] for run in fresh):
            ended_at = _ended_at(row, now)
            odd += ended_at is None and row["finished_at"] is not None
            self._count(families, row, ended_at, *tasks.get(row["task_id"], ("", "")))
        families.count_odd_rows("runs", odd)
        families.unaccounted.labels().inc(skipped + self.counter.unaccounted - before)
        self._show(now, families)

    async def _tasks(
        self, transaction: ReadTransaction, rows: Mapping[int, asyncpg.Record]
    ) -> dict[Any, tuple[str, str]]:
        """The agent and the kind of schedule of each task with a run not seen before."""
        new = {row["task_id"] for number, row in rows.items() if number not in self.counter.seen}
        known = await transaction.rows("tasks_known", list(new)) if new else []
        return {row["id"]: (row["agent"], row["kind"]) for row in known}

    def _count(
        self, families: SystemMetrics, row: asyncpg.Record, ended_at: float | None, agent: str, kind: str
    ) -> None:
        succeeded, task_id = bool(row["success"]), str(row["task_id"])
        families.runs.labels("success" if succeeded else "failed", task_id, agent).inc()
        if (row["attempt"] or 1) > 1:
            families.retries.labels(kind).inc()
        if not succeeded:
            families.failures.labels(kind).inc()
        if ended_at is not None:
            self.window.add(ended_at, successes=succeeded, failures=not succeeded)
            took = max(0.0, ended_at - row["started_at"])
            families.run_seconds.labels(task_id, agent, str(succeeded).lower()).observe(took)

    def _show(self, now: float, families: SystemMetrics) -> None:
        sums = {(name,): counts for name, counts in self.window.sums(now).items()}
        families.executions.replace({name: sum(counts) for name, counts in sums.items()})
        families.success_ratio.replace({name: counts[0] / sum(counts) for name, counts in sums.items() if any(counts)})


def _ended_at(row: asyncpg.Record, now: float) -> float | None:
    """When the run ended, no later than now; None where that is not known."""
    finished_at: float | None = row["finished_at"]
    if finished_at is None or not row["started_at"] - _SKEW_SECONDS <= finished_at <= now + _SKEW_SECONDS:
        return None
    return min(finished_at, now)
