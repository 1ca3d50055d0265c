"""Open status pages cost the host's servers nothing: they are answered from memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import redis
from fastapi import FastAPI

TOKEN = "an-operators-token-0123456789"
PAGE = "/ext/observability/page"
CLIENTS = 100
QUESTIONS = 5
"""Questions of each client, one after the other: sooner than a page asks, which does every 5 s."""


def test_a_hundred_open_pages_ask_redis_and_postgresql_nothing(
    serve: Callable[..., Any], database_url: str, redis_url: str, eventually: Callable[..., bool]
) -> None:
    served = serve(
        FastAPI(),
        OPERATOR_TOKEN=TOKEN,
        DATABASE_URL=database_url,
        REDIS_URL=redis_url,
        # Periodic work is rare, so that what is counted is the pages'.
        COLLECTOR_INTERVAL_SECONDS="3600",
        RELAY_INTERVAL_SECONDS="60",
        HISTORY_INTERVAL_SECONDS="300",
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    counted = {"Redis": lambda: _commands(redis_url), "PostgreSQL": lambda: _transactions(database_url)}

    def count_during(work: Callable[[], object]) -> dict[str, int]:
        before = {name: count() for name, count in counted.items()}
        work()
        return {name: count() - before[name] for name, count in counted.items()}

    # The first round of everything opens connections and reads more than later ones.
    assert eventually(lambda: served.runtime.history.history.kept_since_ms is not None)
    assert eventually(lambda: sum(count_during(lambda: time.sleep(0.5)).values()) < 5)
    assert min(count() for count in counted.values()) > 0
    statuses: list[int] = []
    began_at = time.monotonic()
    open_ = count_during(lambda: asyncio.run(_ask(served.url, headers, statuses)))
    seconds = time.monotonic() - began_at
    alone = count_during(lambda: time.sleep(seconds))
    assert len(statuses) == CLIENTS * QUESTIONS and set(statuses) == {200, 304}
    for name, count in open_.items():
        # A lease is renewed now and then; a query for each question would be more by all of them.
        assert count <= 2 * alone[name] + len(statuses) / 10, f"{name}: {alone} alone, {open_} in {seconds:.1f} s"
    assert served.internal_errors() == {}


async def _ask(url: str, headers: dict[str, str], statuses: list[int]) -> None:
    async def open_page(client: httpx.AsyncClient) -> None:
        known: dict[str, str] = {}
        for _ in range(QUESTIONS):
            answer = await client.get(PAGE, headers={**headers, **known})
            statuses.append(answer.status_code)
            known = {"If-None-Match": answer.headers["ETag"]}
            await asyncio.sleep(0.2)

    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=url, limits=limits, trust_env=False, verify=False, timeout=30.0) as client:
        await asyncio.gather(*(open_page(client) for _ in range(CLIENTS)))


def _commands(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return sum(each["calls"] for each in client.info("commandstats").values())


def _transactions(url: str) -> int:
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres") as connection:
        query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
        (count,) = connection.execute(query, (name,)).fetchone() or (0,)
    return int(count)
