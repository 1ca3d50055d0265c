"""The demo's first rows in a real database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from ordinaut_ext_observability.demo.servers import PostgresServer
from ordinaut_ext_observability.demo.workload import initial_rows


@pytest.fixture
def database_rows(postgres_server: PostgresServer, database_url: str) -> list[dict[str, Any]]:
    """The tasks, as they come out of the host's tables."""
    import asyncpg

    postgres_server.run_sql(initial_rows(datetime(2026, 11, 25, 12, tzinfo=UTC)), database_url.rpartition("/")[2])

    async def read() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(database_url)
        try:
            return [dict(row) for row in await connection.fetch("SELECT *, schedule_kind::text FROM task")]
        finally:
            await connection.close()

    return asyncio.run(read())
