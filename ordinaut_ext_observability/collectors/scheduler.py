"""`apscheduler_jobs` and `task`: what should be fired, and whether somebody fires it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ordinaut_ext_observability.collectors.connection import ReadTransaction
from ordinaut_ext_observability.collectors.facts import SchedulerFacts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_GRACE_SECONDS = 30.0
"""The host's scheduler lets a job be this late before it calls it missed."""

_MOST_ROWS = 10_000


class Tasks(NamedTuple):
    """Rows of `task`, by kind of schedule and status."""

    counts: Mapping[tuple[str, ...], int]
    pending_once: int
    """Active tasks whose only time is in the future."""


async def read_tasks(transaction: ReadTransaction, families: SystemMetrics) -> Tasks:
    """Read and show the tasks; beyond a number of rows their shares are taken for those of all."""
    rows = await transaction.rows("tasks", _MOST_ROWS)
    counts: dict[tuple[str, ...], int] = {(row["kind"], row["status"]): int(row["tasks"]) for row in rows}
    looked_at = sum(counts.values())
    if looked_at >= _MOST_ROWS:
        share = max(looked_at, await transaction.value("tasks_size")) / looked_at
        counts = {key: round(number * share) for key, number in counts.items()}
    expressions = [row["schedule_expr"] for row in await transaction.rows("once")]
    families.tasks.replace(counts)
    return Tasks(counts, sum(_is_later(expression, transaction.now) for expression in expressions))


async def read_scheduler(transaction: ReadTransaction, families: SystemMetrics, tasks: Tasks | None) -> SchedulerFacts:
    """Read and show the scheduler's jobs, beside the tasks that ought to have one; None: they cannot be read."""
    schedules = None
    if tasks is not None:
        recurring = tasks.counts.get(("cron", "active"), 0) + tasks.counts.get(("rrule", "active"), 0)
        schedules = recurring + tasks.pending_once
    row: Mapping[str, Any] = {"jobs": 0, "overdue": 0, "oldest_overdue": None, "next_in": None, "odd_rows": 0}
    exists = bool(await transaction.value("jobs_table"))
    if exists:
        row = await transaction.row("jobs", transaction.now, transaction.now - _GRACE_SECONDS, _MOST_ROWS)
    facts = SchedulerFacts(
        table_exists=exists,
        jobs=row["jobs"],
        overdue_jobs=row["overdue"],
        oldest_overdue_seconds=row["oldest_overdue"] or 0.0,
        next_run_in_seconds=row["next_in"],
        active_schedules=schedules,
    )
    families.count_odd_rows("scheduler", row["odd_rows"])
    for gauge, number in (
        (families.jobs, facts.jobs),
        (families.overdue_jobs, facts.overdue_jobs),
        (families.oldest_overdue, facts.oldest_overdue_seconds),
    ):
        gauge.replace({(): number} if exists else {})
    return facts


def _is_later(expression: str, now: float) -> bool:
    try:
        when = datetime.fromisoformat(expression)
    except ValueError:
        return False
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp() > now
