"""`apscheduler_jobs` and `task`: what should be fired, and whether somebody fires it."""

from __future__ import annotations

from datetime import UTC, datetime

from ordinaut_ext_observability.collectors.connection import ReadTransaction
from ordinaut_ext_observability.collectors.states import SchedulerFacts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_GRACE_SECONDS = 30.0
"""The host's scheduler lets a job be this late before it calls it missed."""

_MOST_ROWS = 10_000


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
