"""The demo's scheduler: it makes work of schedules, and tells `observability` what Ordinaut's would."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from observability.logging import generate_request_id, scheduler_logger, set_request_context
from observability.metrics import orchestrator_metrics
from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.demo.database import connect
from ordinaut_ext_observability.demo.workload import abandoned_lease

_TICK_SECONDS = 0.25
_ABANDON_EVERY_SECONDS = 75.0
"""So often another lease of a dead worker runs out, which is no scheduler's business but the demo's."""

_MISSED = timedelta(seconds=5)
"""The work of a longer time, during which the machine slept, is left out."""

_JOBS_TABLE = """
CREATE TABLE IF NOT EXISTS apscheduler_jobs (
    id varchar(191) PRIMARY KEY, next_run_time double precision, job_state bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS ix_apscheduler_jobs_next_run_time ON apscheduler_jobs (next_run_time);
"""
_EVERY = re.compile(r"FREQ=(SECONDLY|MINUTELY);INTERVAL=(\d+)")
_SECONDS = {"SECONDLY": 1, "MINUTELY": 60}


def next_run(kind: str, expression: str, after: datetime) -> datetime | None:
    """The first instant after this one at which the schedule is due; None when there is none.

    Raises:
        ValueError: the schedule is none of the few forms that the demo's tasks use.
    """
    if kind == "once":
        due = datetime.fromisoformat(expression)
        return due if due > after else None
    if (kind, expression) == ("cron", "* * * * *"):
        return after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    every = _EVERY.fullmatch(expression)
    if kind != "rrule" or every is None:
        raise ValueError(f"the demo knows no {kind} schedule {expression!r}")
    return after + timedelta(seconds=_SECONDS[every[1]] * int(every[2]))


class Scheduler:
    """Fires what is due. Like the host's, it knows the tasks that there were at its start."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._jobs: dict[UUID, tuple[str, str, datetime]] = {}
        """Kind, expression and next run by task."""

    async def load_tasks(self) -> None:
        """Make a job of every active schedule."""
        await self._database.execute(_JOBS_TABLE)
        tasks = await self._database.fetch(
            "SELECT id, schedule_kind::text AS kind, schedule_expr, title FROM task "
            "WHERE status = 'active' AND schedule_kind IN ('cron', 'rrule', 'once') ORDER BY title"
        )
        for task in tasks:
            try:
                due = next_run(task["kind"], task["schedule_expr"], datetime.now(UTC))
            except ValueError as error:
                orchestrator_metrics.record_scheduler_tick("schedule_error")
                scheduler_logger.error("Task cannot be scheduled", task_id=task["id"], error=str(error))
                continue
            if due is not None:
                await self._keep(task["id"], task["kind"], task["schedule_expr"], due)
                orchestrator_metrics.record_scheduler_job_created(task["kind"])
        orchestrator_metrics.record_scheduler_tick("success")
        scheduler_logger.info("Schedules loaded", jobs=len(self._jobs))

    async def tick(self) -> None:
        """Fire every job that is due."""
        now = datetime.now(UTC)
        due = [(task_id, *job) for task_id, job in self._jobs.items() if job[2] <= now]
        for task_id, kind, expression, run_at in due:
            set_request_context(request_id=generate_request_id(), task_id=str(task_id))
            await self._database.execute("INSERT INTO due_work (task_id, run_at) VALUES ($1, $2)", task_id, run_at)
            orchestrator_metrics.record_scheduler_job_created("job_fired")
            if kind != "cron":
                orchestrator_metrics.update_scheduler_lag((datetime.now(UTC) - run_at).total_seconds())
            scheduler_logger.info("Task is due", schedule_kind=kind)
            await self._keep(task_id, kind, expression, next_run(kind, expression, max(run_at, now - _MISSED)))
        if due:
            orchestrator_metrics.record_scheduler_tick("success")

    async def _keep(self, task_id: UUID, kind: str, expression: str, due: datetime | None) -> None:
        job_id = f"{kind}-{task_id}"
        if due is None:
            self._jobs.pop(task_id, None)
            await self._database.execute("DELETE FROM apscheduler_jobs WHERE id = $1", job_id)
            return
        self._jobs[task_id] = (kind, expression, due)
        await self._database.execute(
            "INSERT INTO apscheduler_jobs (id, next_run_time, job_state) VALUES ($1, $2, '') "
            "ON CONFLICT (id) DO UPDATE SET next_run_time = excluded.next_run_time",
            *(job_id, due.timestamp()),
        )


async def main() -> None:
    """Schedule, for ever."""
    database = await connect("ordinaut-scheduler")
    scheduler = Scheduler(database)
    await scheduler.load_tasks()
    abandon_at = monotonic_seconds() + _ABANDON_EVERY_SECONDS
    while True:
        await scheduler.tick()
        if monotonic_seconds() >= abandon_at:
            abandon_at = monotonic_seconds() + _ABANDON_EVERY_SECONDS
            await database.execute(abandoned_lease())
        await asyncio.sleep(_TICK_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
