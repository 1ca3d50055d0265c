"""The demo's clients: requests of all kinds to the host, and a subscriber that reads events too slowly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from redis import exceptions
from redis.asyncio import Redis

from observability.tracing import continue_event
from ordinaut_ext_observability.demo.workload import ORDER_PLACED, SYSTEM_AGENT_ID, TASKS

_PAUSE_SECONDS = 0.3
_READ_SECONDS = 2.0
_LONGEST_LAG = 60
_EXTENSION_STREAM = "ext:demo:events:report"
_NOBODY = UUID(int=0)


class Request(NamedTuple):
    """One kind of request, and how often it is made compared with the others."""

    weight: int
    method: str
    path: str
    body: Any = None


def requests() -> list[Request]:
    """Each kind once."""
    condition = [task.id for task in TASKS if task.kind == "condition"]
    paused = next(task.id for task in TASKS if task.status == "paused")
    return [
        Request(12, "GET", "/tools"),
        Request(8, "GET", "/tasks/"),
        Request(8, "GET", "/runs/?limit=20"),
        Request(6, "GET", f"/tasks/{TASKS[0].id}"),
        Request(10, "POST", "/events/", {"topic": ORDER_PLACED, "payload": {"order": 1}}),
        Request(6, "POST", "/events/", {"topic": "mail.received"}),
        *(Request(2, "POST", f"/tasks/{identity}/run_now") for identity in condition),
        *(
            Request(1, "POST", "/tasks/", {"title": "Check it", "schedule_kind": kind, "schedule_expr": expression})
            for kind, expression in (("event", "backup.finished"), ("condition", "backup.age > 1"))
        ),
        Request(1, "GET", "/events/stream"),
        Request(3, "POST", "/agents/auth/token", {"agent_id": str(SYSTEM_AGENT_ID)}),
        Request(1, "POST", "/agents/auth/token", {"agent_id": str(_NOBODY)}),
        Request(1, "POST", f"/tasks/{paused}/resume"),
        Request(1, "POST", f"/tasks/{paused}/pause"),
        Request(3, "GET", f"/tasks/{_NOBODY}"),
        Request(2, "GET", "/favicon.ico"),
        Request(1, "POST", "/events/", {"payload": "no topic"}),
        Request(2, "GET", "/reports/slow"),
        Request(1, "GET", "/reports/broken"),
    ]


async def make_requests(url: str, seed: int) -> None:
    """Each kind once, then at random, for ever: three to four a second."""
    kinds = requests()
    chance = random.Random(seed)
    under_way: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False, verify=False) as client:  # noqa: S501 - no TLS
        tour = list(kinds)
        while True:
            request = tour.pop(0) if tour else chance.choices(kinds, [kind.weight for kind in kinds])[0]
            task = asyncio.create_task(_make(client, request))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(_PAUSE_SECONDS * chance.uniform(0.5, 1.5))


async def _make(client: httpx.AsyncClient, request: Request) -> None:
    with contextlib.suppress(httpx.HTTPError):
        await client.request(request.method, request.path, json=request.body)


async def subscribe(url: str, seed: int) -> None:
    """Read events one at a time, more slowly than they come, and forget to acknowledge some."""
    chance = random.Random(seed)
    async with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as redis:
        while True:
            with contextlib.suppress(exceptions.RedisError, OSError):
                await _read_events(redis, chance)
            await asyncio.sleep(_READ_SECONDS)


async def _read_events(redis: Redis, chance: random.Random) -> None:
    with contextlib.suppress(exceptions.ResponseError):  # there is one already
        await redis.xgroup_create("events", "mailers", id="0", mkstream=True)
    (group,) = await redis.xinfo_groups("events")
    count = _LONGEST_LAG if (group.get("lag") or 0) > _LONGEST_LAG else 1
    for _, entries in await redis.xreadgroup("mailers", "mailer-1", {"events": ">"}, count=count):
        for entry, fields in entries:
            with continue_event(fields):
                if chance.random() < 0.98:
                    await redis.xack("events", "mailers", entry)
    await redis.xadd(_EXTENSION_STREAM, {"payload": "{}"}, maxlen=1000)


async def main(url: str, seed: int) -> None:
    """Make requests and read events, for ever."""
    await asyncio.gather(make_requests(url, seed), subscribe(os.environ["REDIS_URL"], seed))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], seed=int(sys.argv[2])))
