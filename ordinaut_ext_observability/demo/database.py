"""The demo's connections to its PostgreSQL."""

from __future__ import annotations

import os
from typing import Any

import asyncpg


async def connect(name: str) -> Any:
    """A pool of at most three connections that go by this name."""
    return await asyncpg.create_pool(
        os.environ["DATABASE_URL"],
        min_size=1,
        max_size=3,
        command_timeout=10,
        server_settings={"application_name": name},
    )


async def write_audit(database: Any, agent_id: object, action: str, subject_id: object = None) -> None:
    """A row of the audit log, as the host's API writes one for each change."""
    await database.execute(
        "INSERT INTO audit_log (actor_agent_id, action, subject_id, details) VALUES ($1, $2, $3, '{}')",
        agent_id,
        action,
        subject_id,
    )
