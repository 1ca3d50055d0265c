"""Tasks, events and agents of the full host, kept in memory."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from ordinaut_ext_observability.background.clock import wall_seconds

SYSTEM_AGENT_ID = UUID("00000000-0000-0000-0000-000000000001")
"""The agent that the host's migration creates."""

_TOKEN_LIFETIME_SECONDS = 3600


class NewTask(BaseModel):
    """What a client says of a task."""

    title: str = Field(min_length=1, max_length=200)
    description: str = ""
    schedule_kind: Literal["cron", "rrule", "once", "event", "condition"] = "once"
    schedule_expr: str | None = None
    timezone: str = "Europe/Chisinau"
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: int = Field(default=5, ge=1, le=9)
    created_by: UUID = SYSTEM_AGENT_ID


class Task(NewTask):
    """A task that the host has accepted."""

    id: UUID
    status: Literal["active", "paused", "canceled"] = "active"
    created_at: datetime


class Credentials(BaseModel):
    """How an agent identifies itself: by its public id alone."""

    agent_id: UUID


@dataclass
class Records:
    """The data of one app."""

    tasks: dict[UUID, Task] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    """Oldest first."""

    def add_task(self, new: NewTask) -> Task:
        """Accept a task and publish that it was created."""
        created_at = datetime.fromtimestamp(wall_seconds(), UTC)
        task = Task(**new.model_dump(), id=uuid4(), created_at=created_at)
        self.tasks[task.id] = task
        event = {"event_id": str(uuid4()), "topic": "task.created", "payload": {"task_id": str(task.id)}}
        self.events.append({**event, "published_at": created_at.isoformat()})
        return task


def build_task_router(records: Records) -> APIRouter:
    """The routes under /tasks."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.get("/")
    async def list_tasks(limit: int = 50, offset: int = 0) -> dict[str, Any]:
        tasks = list(records.tasks.values())
        return {"items": tasks[offset : offset + limit], "total": len(tasks), "limit": limit, "offset": offset}

    @router.post("/", status_code=201)
    async def create_task(new: NewTask) -> Task:
        return records.add_task(new)

    @router.get("/{task_id}")
    async def show_task(task_id: UUID) -> Task:
        task = records.tasks.get(task_id)
        if task is None:
            raise HTTPException(404, detail=f"There is no task {task_id}")
        return task

    return router


def build_event_router(records: Records) -> APIRouter:
    """The routes under /events."""
    router = APIRouter(prefix="/events", tags=["events"])

    @router.get("/stream/recent")
    async def list_recent_events(count: int = 50) -> dict[str, Any]:
        recent = records.events[::-1][:count]
        return {"events": recent, "count": len(recent)}

    return router


def build_agent_router() -> APIRouter:
    """The routes under /agents."""
    router = APIRouter(prefix="/agents", tags=["agents"])

    @router.post("/auth/token")
    async def issue_token(credentials: Credentials) -> dict[str, Any]:
        if credentials.agent_id != SYSTEM_AGENT_ID:
            raise HTTPException(401, detail="There is no such agent")
        return {
            "access_token": secrets.token_urlsafe(32),
            "refresh_token": secrets.token_urlsafe(32),
            "token_type": "bearer",
            "expires_in": _TOKEN_LIFETIME_SECONDS,
            "scope": "admin system",
        }

    return router
