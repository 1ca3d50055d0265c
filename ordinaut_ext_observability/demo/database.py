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
