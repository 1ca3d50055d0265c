"""`task_run`: what ended, counted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg

from ordinaut_ext_observability.collectors.connection import ReadTransaction, instant
from ordinaut_ext_observability.collectors.runs import Lease, Plan, Run, RunCounter
from ordinaut_ext_observability.collectors.windows import WindowCounts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_MOST_ROWS = 20_000
"""Of the window in one reading; after a long pause the rest is read the next time."""

_MOST_ROWS_EVER = 200_000
"""Of the first reading, whose rest would be counted by the second; and where as many runs began at the same instant."""

_MOST_SKIPPED = 1_000_000
_SKEW_SECONDS = 3600.0
"""By how much the clocks of workers and server may differ: what begins or ends later than that has no known time."""

_UPPER_HALF = 64


class _Task(NamedTuple):
    agent: str = ""
    kind: str = ""


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
        found = [*window, *await _late(transaction, plan)]
        # Those from the future are read when their time has come.
        rows = {_run_id(row): row for row in found if row["started_at"] <= now + _SKEW_SECONDS}
        skipped = await _skipped(transaction, plan)
        tasks = await _tasks(transaction, {row["task_id"] for row in self._unseen(rows)})
        # From here on nothing waits: what is counted and up to where belong together.
        families.collector_rows.labels("runs").set(len(rows))
        full = len(window) == most
        before = self.counter.unaccounted
        fresh = self.counter.finish(
            plan,
            leases,
            [_run(number, row) for number, row in rows.items()],
            heartbeats=heartbeats,
            read_until=min(window[-1]["started_at"], now) if full else None,
        )
        # A full window without anything new would be the same the next time.
        self.most_rows = min(2 * most, _MOST_ROWS_EVER) if full and not fresh else _MOST_ROWS
        odd = sum(row["started_at"] > now + _SKEW_SECONDS for row in found)
        for run in fresh:
            row = rows[run.id]
            ended_at = _ended_at(row, now)
            odd += ended_at is None and row["finished_at"] is not None
            self._count(row, ended_at, tasks.get(row["task_id"], _Task()), families)
        families.count_odd_rows("runs", odd)
        families.unaccounted.labels().inc(skipped + self.counter.unaccounted - before)
        self._show(now, families)

    def _unseen(self, rows: Mapping[int, asyncpg.Record]) -> Iterable[asyncpg.Record]:
        if self.counter.read_until is None:
            return ()
        return (row for number, row in rows.items() if not self.counter.has_seen(number))

    def _count(self, row: asyncpg.Record, ended_at: float | None, task: _Task, families: SystemMetrics) -> None:
        succeeded, task_id = bool(row["success"]), str(row["task_id"])
        families.runs.labels("success" if succeeded else "failed", task_id, task.agent).inc()
        if (row["attempt"] or 1) > 1:
            families.retries.labels(task.kind).inc()
        if not succeeded:
            families.failures.labels(task.kind).inc()
        if ended_at is not None:
            self.window.add(ended_at, successes=succeeded, failures=not succeeded)
            took = max(0.0, ended_at - row["started_at"])
            families.run_seconds.labels(task_id, task.agent, str(succeeded).lower()).observe(took)

    def _show(self, now: float, families: SystemMetrics) -> None:
        sums = {(name,): counts for name, counts in self.window.sums(now).items()}
        families.executions.replace({name: sum(counts) for name, counts in sums.items()})
        families.success_ratio.replace({name: counts[0] / sum(counts) for name, counts in sums.items() if any(counts)})


async def _late(transaction: ReadTransaction, plan: Plan) -> list[asyncpg.Record]:
    if not plan.brackets:
        return []
    tasks, since, until = zip(*plan.brackets, strict=True)
    return await transaction.rows("runs_late", tasks, list(map(instant, since)), list(map(instant, until)))


async def _skipped(transaction: ReadTransaction, plan: Plan) -> int:
    if plan.skipped is None:
        return 0
    since, until = plan.skipped
    return int(await transaction.value("runs_skipped", instant(since), instant(until), _MOST_SKIPPED))


async def _tasks(transaction: ReadTransaction, ids: set[Any]) -> dict[Any, _Task]:
    if not ids:
        return {}
    return {row["id"]: _Task(row["agent"], row["kind"]) for row in await transaction.rows("tasks_known", list(ids))}


def _ended_at(row: asyncpg.Record, now: float) -> float | None:
    """When the run ended, no later than now; None where that is not known."""
    finished_at: float | None = row["finished_at"]
    if finished_at is None or not row["started_at"] - _SKEW_SECONDS <= finished_at <= now + _SKEW_SECONDS:
        return None
    return min(finished_at, now)


def _run_id(row: asyncpg.Record) -> int:
    number: int = row["id"].int
    return number >> _UPPER_HALF


def _run(number: int, row: asyncpg.Record) -> Run:
    return Run(number, str(row["task_id"]), row["lease_owner"] or "", row["started_at"], bool(row["success"]))
