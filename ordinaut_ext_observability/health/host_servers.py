"""Checks that ask the host's servers over connections of their own, for `HealthMonitor.database_check` and its like.

The checks `database`, `redis` and `scheduler` of a mounted extension need none: they tell what the collectors read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.errors import ObservabilityError

_SECONDS = 2.0
"""Longest wait for a connection, and again for an answer: a check has five seconds in all."""

_OVERDUE_SECONDS = 60.0
"""The limit of the host's own alert rules."""


async def database_check() -> dict[str, Any]:
    """Say how many jobs are scheduled and how much work is due, counted up to 10,000. Raises what asyncpg does."""
    has_jobs, due = await _ask_database(
        "SELECT to_regclass('apscheduler_jobs') IS NOT NULL",
        "SELECT count(*) FROM (SELECT FROM due_work WHERE run_at <= now() LIMIT 10000) AS due",
    )
    (jobs,) = await _ask_database("SELECT count(*) FROM apscheduler_jobs") if has_jobs else (0,)
    return {"connection": "ok", "active_jobs": jobs, "queue_depth": due}


async def scheduler_check() -> dict[str, Any]:
    """Say how many jobs there are and when the next one runs. Raises what asyncpg does.

    Raises:
        ObservabilityError: a job has been overdue for a minute, so nobody runs them.
    """
    jobs, next_run = await _ask_database(
        "SELECT count(*) FROM apscheduler_jobs", "SELECT min(next_run_time)::float8 FROM apscheduler_jobs"
    )
    if next_run is not None and (overdue := wall_seconds() - next_run) > _OVERDUE_SECONDS:
        raise ObservabilityError(f"the scheduler does not run: a job is overdue by {overdue:.0f} s")
    next_at = datetime.fromtimestamp(next_run, UTC) if next_run is not None else None
    return {"running": True, "total_jobs": jobs, "next_run": next_at}


async def redis_check() -> dict[str, Any]:
    """Say how long the host's stream is and how many groups read it. Raises what redis-py does.

    Raises:
        ObservabilityError: there is no `REDIS_URL`.
    """
    from ordinaut_ext_observability.cluster.redis import async_redis_client
    from ordinaut_ext_observability.settings.load import load_settings

    url = load_settings().relay.redis_url
    if url is None:
        raise ObservabilityError("REDIS_URL is not set")
    async with async_redis_client(url.get_secret_value()) as client:
        await client.ping()
        stream = await client.xinfo_stream("events") if await client.exists("events") else {"length": 0, "groups": 0}
    return {"connection": "ok", "stream_length": stream["length"], "consumer_groups": stream["groups"]}


async def _ask_database(*queries: str) -> list[Any]:
    """The values of these queries in the database of `DATABASE_URL`; asyncpg looks at libpq's variables without it."""
    from ordinaut_ext_observability.postgresql.connection import connect
    from ordinaut_ext_observability.settings.load import load_settings

    url = load_settings().collectors.database_url
    target = url.get_secret_value() if url is not None else "postgresql://"
    connection = await connect(target, timeout_seconds=_SECONDS, answer_seconds=_SECONDS)
    try:
        return [await connection.fetchval(query) for query in queries]
    finally:
        await connection.close(timeout=_SECONDS)
