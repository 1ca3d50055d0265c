"""Checks that ask over connections of their own: HTTP services of the configuration file, and the host's servers.

The host's are for `HealthMonitor.database_check` and its like. The checks `database`, `redis` and `scheduler` of a
mounted extension need none: they tell what the collectors read.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.background.clock import monotonic_seconds, wall_seconds
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.settings.load import load_settings
from ordinaut_ext_observability.settings.sections import HttpCheckEntry

if TYPE_CHECKING:
    import httpx

_SECONDS = 2.0
"""Longest wait for a connection, and again for an answer: a check has five seconds in all."""

_OVERDUE_SECONDS = 60.0
"""The limit of the host's own alert rules."""

_MAX_PIECES = 16
"""Pieces of a body that are read, of 64 KiB at most: what asks for a service's health has a short answer."""


@dataclass(slots=True)
class HttpServiceCheck:
    """Asks for a URL and judges the status code and the time it took. Redirects are answers, not followed."""

    entry: HttpCheckEntry
    client: httpx.Client | None = None
    """Kept between runs, with its connection."""

    def run(self) -> Outcome:
        """The outcome of one request. Raises `httpx.HTTPError` where no answer came, `ValueError` where none can."""
        import httpx  # takes a tenth of a second: not everybody checks services

        entry = self.entry
        if self.client is None:
            self.client = httpx.Client(timeout=entry.timeout_seconds, verify=entry.verify_tls)
        started = monotonic_seconds()
        try:
            with self.client.stream(entry.method, str(entry.url), headers=entry.headers) as response:
                status_code, seconds = response.status_code, monotonic_seconds() - started
                with contextlib.suppress(httpx.HTTPError):  # a body that was read keeps the connection usable
                    for number, _ in enumerate(response.iter_raw()):
                        if number == _MAX_PIECES or monotonic_seconds() - started > entry.timeout_seconds:
                            break
        except (httpx.LocalProtocolError, UnicodeError):
            # The error quotes what cannot be sent, which may be a secret.
            raise ValueError("the URL or a header holds characters that cannot be sent") from None
        details = {"status_code": status_code, "seconds": round(seconds, 3)}
        if status_code not in (entry.expected_statuses or range(200, 400)):
            return Outcome(HealthStatus.UNHEALTHY, f"answered {status_code}", details)
        if entry.slow_seconds is not None and seconds > entry.slow_seconds:
            return Outcome(HealthStatus.DEGRADED, f"took {seconds:.3f} s, more than {entry.slow_seconds:g} s", details)
        return Outcome(HealthStatus.HEALTHY, "", details)


async def database_check() -> dict[str, Any]:
    """Say how many jobs are scheduled and how much work is due, counted up to 10,000. Raises what asyncpg does."""
    has_jobs, due = await _ask_database(
        "SELECT to_regclass('apscheduler_jobs') IS NOT NULL",
        "SELECT count(*) FROM (SELECT FROM due_work WHERE run_at <= now() LIMIT 10000) AS due",
    )
    (jobs,) = await _ask_database("SELECT count(*) FROM apscheduler_jobs") if has_jobs else (0,)
    return {"connection": "ok", "active_jobs": jobs, "queue_depth": due}


async def scheduler_check() -> dict[str, Any]:
    """Say how many jobs there are and when the next one runs. Raises what asyncpg does, and where one is overdue."""
    jobs, next_run = await _ask_database(
        "SELECT count(*) FROM apscheduler_jobs", "SELECT min(next_run_time)::float8 FROM apscheduler_jobs"
    )
    if next_run is not None and (overdue := wall_seconds() - next_run) > _OVERDUE_SECONDS:
        raise ObservabilityError(f"the scheduler does not run: a job is overdue by {overdue:.0f} s")
    next_at = datetime.fromtimestamp(next_run, UTC) if next_run is not None else None
    return {"running": True, "total_jobs": jobs, "next_run": next_at}


async def redis_check() -> dict[str, Any]:
    """Say how long the host's stream is and how many groups read it. Raises what redis-py does, and without a URL."""
    from ordinaut_ext_observability.cluster.redis import async_redis_client

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

    url = load_settings().collectors.database_url
    target = url.get_secret_value() if url is not None else "postgresql://"
    connection = await connect(target, timeout_seconds=_SECONDS, answer_seconds=_SECONDS)
    try:
        return [await connection.fetchval(query) for query in queries]
    finally:
        await connection.close(timeout=_SECONDS)
