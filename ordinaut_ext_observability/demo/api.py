"""The demo's API: the stand-in host with the extension, and routes that use PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import uvicorn
from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from redis.asyncio import Redis

from observability.metrics import orchestrator_metrics
from observability.tracing import event_fields
from ordinaut_ext_observability import current_runtime
from ordinaut_ext_observability.demo.database import connect
from ordinaut_ext_observability.demo.standin_host import ExtensionSpec, create_lean_app
from ordinaut_ext_observability.demo.workload import SYSTEM_AGENT_ID
from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.manifest import EXTENSION_ID

_EVENTS_KEPT = 10_000
_STREAMED = 5
"""As many events, or seconds, are streamed to a client."""
_STATUS_AFTER = {"pause": "paused", "resume": "active"}

router = APIRouter()


class NewEvent(BaseModel):
    """What a client publishes."""

    topic: str
    payload: dict[str, Any] = {}


class NewTask(BaseModel):
    """A task that no schedule fires: the demo's scheduler knows those alone that there were at its start."""

    title: str
    schedule_kind: Literal["event", "condition"]
    schedule_expr: str


async def _database(request: Request) -> Any:
    return request.app.state.database


Database = Annotated[Any, Depends(_database)]


async def _write_audit(database: Any, action: str, subject_id: UUID | None = None) -> None:
    """A row of the audit log, as the host's API writes one for each change."""
    sql = "INSERT INTO audit_log (actor_agent_id, action, subject_id, details) VALUES ($1, $2, $3, '{}')"
    await database.execute(sql, SYSTEM_AGENT_ID, action, subject_id)


async def _queue(database: Any, rows: str, *arguments: Any) -> None:
    """Queue work, and say which request did, as the extension finds out by itself where it is done by SQLAlchemy."""
    for row in await database.fetch(f"INSERT INTO due_work (task_id, run_at) {rows} RETURNING task_id", *arguments):
        current_runtime().merged.note_queued(str(row["task_id"]))


@router.get("/tasks/")
async def list_tasks(database: Database) -> list[dict[str, Any]]:
    rows = await database.fetch("SELECT id, title, schedule_kind::text, schedule_expr, status FROM task LIMIT 100")
    return [dict(row) for row in rows]


@router.post("/tasks/")
async def create_task(new: NewTask, database: Database) -> dict[str, Any]:
    task_id = await database.fetchval(
        "INSERT INTO task (title, description, created_by, schedule_kind, schedule_expr, payload) "
        "VALUES ($1, 'Of the demo', $2, $3, $4, '{\"pipeline\": []}') RETURNING id",
        *(new.title, SYSTEM_AGENT_ID, new.schedule_kind, new.schedule_expr),
    )
    await _write_audit(database, "task.created", task_id)
    return {"id": task_id}


@router.get("/tasks/{task_id}")
async def show_task(task_id: UUID, database: Database) -> Any:
    row = await database.fetchrow("SELECT id, title, status FROM task WHERE id = $1", task_id)
    return dict(row) if row else _not_found(task_id)


@router.post("/tasks/{task_id}/run_now")
async def run_now(task_id: UUID, database: Database) -> Any:
    if not await database.fetchval("SELECT 1 FROM task WHERE id = $1", task_id):
        return _not_found(task_id)
    await _queue(database, "VALUES ($1, now())", task_id)
    await _write_audit(database, "task.run_now", task_id)
    return {"task_id": task_id, "queued": True}


@router.post("/tasks/{task_id}/{change}")
async def change_status(task_id: UUID, change: Literal["pause", "resume"], database: Database) -> Any:
    await database.execute("UPDATE task SET status = $2 WHERE id = $1", task_id, _STATUS_AFTER[change])
    await _write_audit(database, f"task.{change}d", task_id)
    return {"task_id": task_id, "status": _STATUS_AFTER[change]}


@router.get("/runs/")
async def list_runs(database: Database, limit: int = 50) -> list[dict[str, Any]]:
    sql = "SELECT id, task_id, success, attempt, finished_at FROM task_run ORDER BY started_at DESC LIMIT $1"
    return [dict(row) for row in await database.fetch(sql, min(limit, 100))]


@router.post("/events/")
async def publish(new: NewEvent, request: Request, database: Database) -> dict[str, Any]:
    event_id = str(uuid4())
    fields = {
        "event_id": event_id,
        "topic": new.topic,
        "payload": json.dumps(new.payload),
        "source_agent_id": str(SYSTEM_AGENT_ID),
        "published_at": datetime.now(UTC).isoformat(),
        "published_by": str(SYSTEM_AGENT_ID),
        **event_fields(),
    }
    await request.app.state.redis.xadd("events", fields, maxlen=_EVENTS_KEPT)
    due = "SELECT id, now() FROM task WHERE schedule_kind = 'event' AND schedule_expr = $1 AND status = 'active'"
    await _queue(database, due, new.topic)
    await _write_audit(database, "event.published")
    return {"event_id": event_id}


@router.get("/events/stream")
async def stream_events(request: Request) -> StreamingResponse:
    return StreamingResponse(_coming_events(request.app.state.redis), media_type="text/event-stream")


@router.post("/agents/auth/token")
async def issue_token(agent_id: Annotated[UUID, Body(embed=True)], database: Database) -> Any:
    if agent_id != SYSTEM_AGENT_ID:
        orchestrator_metrics.record_authentication_attempt("credentials", "failed")
        orchestrator_metrics.record_security_event(event_type="request_blocked", severity="medium")
        return JSONResponse({"detail": "There is no such agent"}, status_code=401)
    orchestrator_metrics.record_authentication_attempt("credentials", "success")
    for kind in ("access", "refresh"):
        orchestrator_metrics.record_jwt_token_issued(str(SYSTEM_AGENT_ID), kind)
    await _write_audit(database, "agent.authenticated", SYSTEM_AGENT_ID)
    return {"access_token": secrets.token_urlsafe(16), "token_type": "bearer"}


@router.get("/reports/slow")
async def report_slowly() -> dict[str, str]:
    await asyncio.sleep(1.3)
    return {"report": "done at last"}


@router.get("/reports/broken")
async def fail_to_report() -> None:
    raise RuntimeError("This report is broken, for the demo")


async def _coming_events(redis: Redis) -> AsyncIterator[str]:
    """The next ones, as server-sent events."""
    last: Any = "$"
    for _ in range(_STREAMED):
        for _, entries in await redis.xread({"events": last}, count=1, block=1000):
            for entry, fields in entries:
                last = entry
                yield f"id: {entry.decode()}\ndata: {json.dumps(fields[b'topic'].decode())}\n\n"


def _not_found(task_id: UUID) -> JSONResponse:
    return JSONResponse({"detail": f"There is no task {task_id}"}, status_code=404)


async def serve(file_descriptor: int) -> None:
    """Serve on a socket that listens already."""
    app = create_lean_app(extra_specs=[ExtensionSpec(EXTENSION_ID, ObservabilityExtension, eager=True)])
    app.state.database = await connect("ordinaut-api")
    app.state.redis = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2, socket_connect_timeout=2)
    app.include_router(router)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    await uvicorn.Server(config).serve(sockets=[socket.socket(fileno=file_descriptor)])


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
