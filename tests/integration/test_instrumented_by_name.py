"""The public names that instrument asyncpg, on the process's own runtime."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

import ordinaut_ext_observability as observability


def test_a_connection_and_a_pool_count_into_the_process(clean_process: Any, database_url: str) -> None:
    async def use() -> list[int]:
        connection = observability.instrument_connection(await asyncpg.connect(database_url))
        first = await connection.fetchval("SELECT count(*) FROM task")
        await connection.close()
        async with observability.instrument_pool(asyncpg.create_pool(database_url, min_size=1), "reports") as pool:
            return [first, await pool.fetchval("SELECT count(*) FROM task")]

    assert asyncio.run(use()) == [0, 0]
    registry = observability.current_runtime().metrics.registry
    text = "".join(registry.pieces(openmetrics=False))
    assert 'orchestrator_database_query_duration_seconds_count{operation="select",table="task"} 2.0' in text
    assert 'orchestrator_database_pool_wait_seconds_count{pool="reports"} 1.0' in text


def test_disabled_they_are_what_was_given(clean_process: Any) -> None:
    clean_process.setenv("ORDINAUT_OBS_DISABLED", "1")
    connection, pool = object(), object()
    assert observability.instrument_connection(connection) is connection
    assert observability.instrument_pool(pool) is pool
