"""Readers of tables: who is alive (`worker_heartbeat`), what agents do (`audit_log`), whether what should be fired is
fired (`task`, `apscheduler_jobs`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg

from ordinaut_ext_observability.collectors.connection import ReadTransaction, instant
from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.collectors.states import SchedulerFacts, WorkerFacts
from ordinaut_ext_observability.collectors.windows import WINDOW_SECONDS, IdWindow, WindowCounts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_LOOK_BACK_SECONDS = 86_400.0
"""A worker whose last sign of life is older is not known at the beginning."""

_SLACK_SECONDS = 300.0
"""Longest time that a heartbeat takes to be committed."""

_MOST_WORKERS = 20_000

_MOST_AUDIT_ROWS = 20_000
"""In one reading, to bound its memory; the rest is read the next time."""

_NEWEST = 500
"""Rows among which ids are looked for that are not committed when counting begins."""

_MOST_AGENTS = 10_000

_GRACE_SECONDS = 30.0
"""The host's scheduler lets a job be this late before it calls it missed."""

_MOST_ROWS = 10_000
"""Tasks, and jobs, that are looked at."""


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


@dataclass
class ActivityCollector:
    """Counts the rows added since the last reading. Its fields are the state that the next leader goes on from."""

    ids: IdWindow = field(default_factory=IdWindow)
    last_seen: dict[str, float] = field(default_factory=dict)
    """When each agent acted last, in seconds since 1970."""

    async def read(self, transaction: ReadTransaction, families: SystemMetrics) -> None:
        """Count what was added; the first reading counts nothing."""
        highest = self.ids.highest
        if highest is None:
            found = await transaction.rows("audit_newest", _NEWEST)
            self.ids.begin((row["id"] for row in found), transaction.now)
        else:
            missing = sorted(self.ids.missing)
            found = await transaction.rows("audit_missing", missing) if missing else []
            found += await transaction.rows("audit", highest, _MOST_AUDIT_ROWS)
            # From here on nothing waits: what is counted and up to where belong together.
            rows = {row["id"]: row for row in found}
            for number in self.ids.advance(rows, transaction.now):
                self._count(rows[number], families)
        families.collector_rows.labels("activity").set(len(found))
        self._show(transaction.now, families)

    def _count(self, row: asyncpg.Record, families: SystemMetrics) -> None:
        action, agent = row["action"], row["agent"] or ""
        families.audit_actions.labels(action).inc()
        if agent:
            families.agent_actions.labels(agent).inc()
            self.last_seen[agent] = max(row["at"], self.last_seen.get(agent, 0.0))
        if action == "task.created":
            families.tasks_created.labels(row["kind"] or "", agent).inc()

    def _show(self, now: float, families: SystemMetrics) -> None:
        oldest = now - max(WINDOW_SECONDS.values())
        newest = sorted(self.last_seen.items(), key=lambda item: item[1])[-_MOST_AGENTS:]
        self.last_seen = {agent: at for agent, at in newest if at >= oldest}
        for window, seconds in WINDOW_SECONDS.items():
            active = sum(at >= now - seconds for at in self.last_seen.values())
            families.active_agents.labels(window).set(active)


async def read_tasks(transaction: ReadTransaction, families: SystemMetrics) -> int:
    """Read and show the tasks, and return how many of them a scheduler has to fire.

    Beyond a number of rows their shares are taken for those of all.
    """
    rows = await transaction.rows("tasks", _MOST_ROWS)
    counts: dict[tuple[str, ...], int] = {(row["kind"], row["status"]): int(row["tasks"]) for row in rows}
    looked_at = sum(counts.values())
    if looked_at >= _MOST_ROWS:
        share = max(looked_at, await transaction.value("tasks_size")) / looked_at
        counts = {key: round(number * share) for key, number in counts.items()}
    expressions = [row["schedule_expr"] for row in await transaction.rows("once")]
    families.tasks.replace(counts)
    recurring = counts.get(("cron", "active"), 0) + counts.get(("rrule", "active"), 0)
    return recurring + sum(_is_later(expression, transaction.now) for expression in expressions)


async def read_scheduler(
    transaction: ReadTransaction, families: SystemMetrics, schedules: int | None
) -> SchedulerFacts:
    """Read and show the scheduler's jobs, beside the number of tasks that ought to have one; None: not known."""
    exists = bool(await transaction.value("jobs_table"))
    jobs, overdue, oldest, next_in, odd_rows = 0, 0, 0.0, None, 0
    if exists:
        row = await transaction.row("jobs", transaction.now, transaction.now - _GRACE_SECONDS, _MOST_ROWS)
        jobs, overdue, oldest, next_in, odd_rows = row.values()
    families.count_odd_rows("scheduler", odd_rows)
    for gauge, number in ((families.jobs, jobs), (families.overdue_jobs, overdue), (families.oldest_overdue, oldest)):
        gauge.replace({(): number} if exists else {})
    return SchedulerFacts(exists, jobs, overdue, oldest, next_in, schedules)


def _is_later(expression: str, now: float) -> bool:
    try:
        when = datetime.fromisoformat(expression)
    except ValueError:
        return False
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp() > now
