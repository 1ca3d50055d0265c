"""What the demo's API does with PostgreSQL and Redis: tasks, runs, events, tokens."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from redis.asyncio import Redis

from observability.metrics import orchestrator_metrics
from ordinaut_ext_observability.demo.database import connect, write_audit
from ordinaut_ext_observability.demo.workload import SYSTEM_AGENT_ID

_EVENTS_KEPT = 10_000
_STREAMED = 5
"""As many events, or seconds, are streamed to a client."""
_STATUS_AFTER = {"pause": "paused", "resume": "active"}


class NewEvent(BaseModel):
    """What a client publishes."""

    topic: str
    payload: dict[str, Any] = {}


class NewTask(BaseModel):
    """A task that no schedule fires: the demo's scheduler knows those alone that there were at its start."""

    title: str
    schedule_kind: Literal["event", "condition"]
    schedule_expr: str


class Credentials(BaseModel):
    """How an agent identifies itself."""

    agent_id: UUID


class Stores:
    """The connections, made when they are first needed: by then there is an event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._database: Any = None
        self.redis = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2, socket_connect_timeout=2)

    async def database(self) -> Any:
        """The pool."""
        async with self._lock:
            if self._database is None:
                self._database = await connect("ordinaut-api")
        return self._database


def build_task_router(stores: Stores) -> APIRouter:
    """The routes under /tasks."""
    router = APIRouter()

    @router.get("/tasks/")
    async def list_tasks() -> list[dict[str, Any]]:
        database = await stores.database()
        rows = await database.fetch("SELECT id, title, schedule_kind::text, schedule_expr, status FROM task LIMIT 100")
        return [dict(row) for row in rows]

    @router.post("/tasks/")
    async def create_task(new: NewTask) -> dict[str, Any]:
        database = await stores.database()
        task_id = await database.fetchval(
            "INSERT INTO task (title, description, created_by, schedule_kind, schedule_expr, payload) "
            "VALUES ($1, 'Of the demo', $2, $3, $4, '{\"pipeline\": []}') RETURNING id",
            *(new.title, SYSTEM_AGENT_ID, new.schedule_kind, new.schedule_expr),
        )
        await write_audit(database, SYSTEM_AGENT_ID, "task.created", task_id)
        return {"id": task_id}

    @router.get("/tasks/{task_id}")
    async def show_task(task_id: UUID) -> Any:
        row = await (await stores.database()).fetchrow("SELECT id, title, status FROM task WHERE id = $1", task_id)
        return dict(row) if row else _not_found(task_id)

    @router.post("/tasks/{task_id}/run_now")
    async def run_now(task_id: UUID) -> Any:
        database = await stores.database()
        if not await database.fetchval("SELECT 1 FROM task WHERE id = $1", task_id):
            return _not_found(task_id)
        await database.execute("INSERT INTO due_work (task_id, run_at) VALUES ($1, now())", task_id)
        await write_audit(database, SYSTEM_AGENT_ID, "task.run_now", task_id)
        return {"task_id": task_id, "queued": True}

    @router.post("/tasks/{task_id}/{change}")
    async def change_status(task_id: UUID, change: str) -> Any:
        status = _STATUS_AFTER.get(change)
        if status is None:
            return _not_found(task_id)
        database = await stores.database()
        await database.execute("UPDATE task SET status = $2 WHERE id = $1", task_id, status)
        await write_audit(database, SYSTEM_AGENT_ID, f"task.{status.replace('active', 'resumed')}", task_id)
        return {"task_id": task_id, "status": status}

    return router


def build_run_router(stores: Stores) -> APIRouter:
    """The route under /runs."""
    router = APIRouter()

    @router.get("/runs/")
    async def list_runs(limit: int = 50) -> list[dict[str, Any]]:
        database = await stores.database()
        rows = await database.fetch(
            "SELECT id, task_id, success, attempt, started_at, finished_at FROM task_run "
            "ORDER BY started_at DESC LIMIT $1",
            min(limit, 100),
        )
        return [dict(row) for row in rows]

    return router


def build_event_router(stores: Stores) -> APIRouter:
    """The routes under /events."""
    router = APIRouter()

    @router.post("/events/")
    async def publish(new: NewEvent) -> dict[str, Any]:
        event_id = str(uuid4())
        fields = {
            "event_id": event_id,
            "topic": new.topic,
            "payload": json.dumps(new.payload),
            "source_agent_id": str(SYSTEM_AGENT_ID),
            "published_at": datetime.now(UTC).isoformat(),
            "published_by": str(SYSTEM_AGENT_ID),
        }
        await stores.redis.xadd("events", fields, maxlen=_EVENTS_KEPT)
        database = await stores.database()
        await database.execute(
            "INSERT INTO due_work (task_id, run_at) SELECT id, now() FROM task "
            "WHERE schedule_kind = 'event' AND schedule_expr = $1 AND status = 'active'",
            new.topic,
        )
        await write_audit(database, SYSTEM_AGENT_ID, "event.published")
        return {"event_id": event_id}

    @router.get("/events/stream")
    async def stream_events() -> StreamingResponse:
        return StreamingResponse(_coming_events(stores.redis), media_type="text/event-stream")

    return router


def build_agent_router(stores: Stores) -> APIRouter:
    """The route under /agents, and two reports that are made to be seen: one slow, one broken."""
    router = APIRouter()

    @router.post("/agents/auth/token")
    async def issue_token(credentials: Credentials) -> Any:
        if credentials.agent_id != SYSTEM_AGENT_ID:
            orchestrator_metrics.record_authentication_attempt("credentials", "failed")
            orchestrator_metrics.record_security_event(event_type="request_blocked", severity="medium")
            return JSONResponse({"detail": "There is no such agent"}, status_code=401)
        orchestrator_metrics.record_authentication_attempt("credentials", "success")
        for kind in ("access", "refresh"):
            orchestrator_metrics.record_jwt_token_issued(str(SYSTEM_AGENT_ID), kind)
        await write_audit(await stores.database(), SYSTEM_AGENT_ID, "agent.authenticated", SYSTEM_AGENT_ID)
        return {"access_token": secrets.token_urlsafe(16), "token_type": "bearer"}

    @router.get("/reports/slow")
    async def report_slowly() -> dict[str, str]:
        await asyncio.sleep(1.3)
        return {"report": "done at last"}

    @router.get("/reports/broken")
    async def fail_to_report() -> None:
        raise RuntimeError("This report is broken, for the demo")

    return router


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
