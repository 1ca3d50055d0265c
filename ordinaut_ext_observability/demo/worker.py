"""A worker of the demo: it leases work, does it, and tells `observability` what Ordinaut's would."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from observability.logging import generate_run_id, generate_step_id, pipeline_logger, set_request_context, worker_logger
from observability.metrics import orchestrator_metrics
from ordinaut_ext_observability.demo.database import connect
from ordinaut_ext_observability.demo.workload import LEASE_SECONDS, Step, fate, steps_of

_POLL_SECONDS = 0.2
_HEARTBEAT_SECONDS = 5.0
_BACKOFF_SECONDS = 0.4

# Ordinaut's workers take work as soon as its lease has run out. The demo's leave it for a while, to be seen.
_LEASE = f"""
UPDATE due_work SET locked_until = now() + interval '{LEASE_SECONDS} seconds', locked_by = $1
WHERE id = (
    SELECT id FROM due_work
    WHERE run_at <= now() AND (locked_until IS NULL OR locked_until < now() - interval '45 seconds')
    ORDER BY run_at FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING id, task_id
"""

_HEARTBEAT = """
INSERT INTO worker_heartbeat (worker_id, last_seen, processed_count, pid, hostname) VALUES ($1, now(), $2, $3, $4)
ON CONFLICT (worker_id) DO UPDATE SET last_seen = now(), processed_count = excluded.processed_count
"""

_RUN = """
INSERT INTO task_run (task_id, lease_owner, started_at, finished_at, success, error, attempt, output)
VALUES ($1, $2, $3, now(), $4, $5, $6, $7::text::jsonb)
"""


class Worker:
    """Does one item at a time. Its heartbeats go on meanwhile."""

    def __init__(self, database: Any, seed: int, slowness: float) -> None:
        self._database = database
        self._seed = seed
        self._slowness = slowness
        self.worker_id = f"worker-{uuid4()}"
        self._processed = 0
        self._state = "starting"

    async def send_heartbeats(self) -> None:
        """Show signs of life, for ever."""
        while True:
            await self._database.execute(_HEARTBEAT, self.worker_id, self._processed, os.getpid(), socket.gethostname())
            depth = await self._database.fetchval(
                "SELECT count(*) FROM due_work WHERE run_at <= now() AND (locked_until IS NULL OR locked_until < now())"
            )
            orchestrator_metrics.record_worker_heartbeat(self.worker_id)
            orchestrator_metrics.update_queue_depth(depth)
            orchestrator_metrics.update_active_workers(worker_id=self.worker_id, state=self._state, count=1)
            worker_logger.worker_heartbeat(worker_id=self.worker_id, queue_depth=depth, active_leases=0)
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    async def work(self) -> None:
        """Take what is due, for ever."""
        while True:
            item = await self._database.fetchrow(_LEASE, self.worker_id)
            if item is None:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            self._state = "processing"
            worker_logger.lease_acquired(
                worker_id=self.worker_id, task_id=item["task_id"], lease_duration_seconds=LEASE_SECONDS
            )
            orchestrator_metrics.record_lease_duration(worker_id=self.worker_id, duration=LEASE_SECONDS)
            await self._finish(item["id"], item["task_id"])

    async def _finish(self, work_id: int, task_id: Any) -> None:
        """All attempts at an item; they share the time at which the first one started."""
        task = await self._database.fetchrow("SELECT title, payload, max_retries FROM task WHERE id = $1", task_id)
        started = datetime.now(UTC)
        set_request_context(task_id=str(task_id), run_id=generate_run_id(), worker_id=self.worker_id)
        steps = steps_of(task["payload"])
        for attempt in range(1, task["max_retries"] + 2):
            error = await self._attempt(work_id, task_id, attempt, steps)
            output = None if error else json.dumps({"steps": {step.id: {"status": "simulated"} for step in steps}})
            row = (task_id, self.worker_id, started, error is None, error, attempt, output)
            await self._database.execute(_RUN, *row)
            if error is None:
                worker_logger.info("Task completed", task_id=task_id, title=task["title"], attempt=attempt)
                break
            worker_logger.error("Task failed", task_id=task_id, title=task["title"], attempt=attempt, error=error)
            if attempt <= task["max_retries"]:
                await asyncio.sleep(_BACKOFF_SECONDS * 2 ** (attempt - 1))
        await self._database.execute("DELETE FROM due_work WHERE id = $1", work_id)
        self._processed += 1

    async def _attempt(self, work_id: int, task_id: Any, attempt: int, steps: tuple[Step, ...]) -> str | None:
        """Run the pipeline; the error's text, or None."""
        orchestrator_metrics.record_pipeline_execution(task_id, "started")
        for step in steps:
            seconds, succeeds = fate(self._seed, work_id, attempt, step)
            await self._run_step(step, task_id, seconds, succeeds)
            if not succeeds:
                orchestrator_metrics.record_pipeline_execution(task_id, "failed")
                orchestrator_metrics.record_pipeline_execution(task_id, "failed")  # the host says it twice
                return f"{step.id}: {step.error} from {step.uses}"
        orchestrator_metrics.record_pipeline_execution(task_id, "success")
        return None

    async def _run_step(self, step: Step, task_id: Any, seconds: float, succeeds: bool) -> None:  # noqa: FBT001
        step_id = generate_step_id(step.id)
        set_request_context(step_id=step_id)
        pipeline_logger.pipeline_step_started(step_id=step_id, tool_address=step.uses)
        taken = seconds * self._slowness
        await asyncio.sleep(taken)
        orchestrator_metrics.record_external_tool_call(
            tool_address=step.uses, method="simulated", status_code=200 if succeeds else 502, duration=taken
        )
        orchestrator_metrics.record_step_execution(
            tool_addr=step.uses,
            step_id=step_id,
            task_id=task_id,
            duration=taken,
            success=succeeds,
            error_type=None if succeeds else step.error,
        )
        pipeline_logger.pipeline_step_completed(
            step_id=step_id, tool_address=step.uses, success=succeeds, duration_ms=taken * 1000
        )


async def main(seed: int, slowness: float) -> None:
    """Work, for ever."""
    worker = Worker(await connect("ordinaut-worker"), seed, slowness)
    await asyncio.gather(worker.send_heartbeats(), worker.work())


if __name__ == "__main__":
    asyncio.run(main(seed=int(sys.argv[1]), slowness=float(sys.argv[2])))
