"""The Redis server: what it answers to a handful of cheap questions, at an interval, on a connection of our own."""

from __future__ import annotations

import asyncio
import contextlib

from ordinaut_ext_observability.background.tasks import backed_off
from ordinaut_ext_observability.cluster.redis_client import async_redis_client, redis_problem
from ordinaut_ext_observability.collectors.redis_definitions import RedisMetrics
from ordinaut_ext_observability.collectors.redis_reading import StreamNames, read_server
from ordinaut_ext_observability.collectors.states import CollectorStates

_READING_SECONDS = 3.0
"""Longest time that all questions of a round take together."""

_CLOSING_SECONDS = 0.5
"""Longest wait for the goodbye, which a hung server does not hear."""


class RedisCollector:
    """Reads the server, until `close`: then nothing of it is left, neither a connection nor a gauge."""

    def __init__(self, url: str, families: RedisMetrics, states: CollectorStates, interval_seconds: float) -> None:
        """Connects at the first round.

        Raises:
            ValueError: the URL cannot be read.
        """
        self._client = async_redis_client(url)
        self._families = families
        self._states = states
        self._interval_seconds = interval_seconds
        self._streams = StreamNames()
        self._failures = 0

    async def collect(self) -> float:
        """Read once, and return the seconds until the next round. Never raises but when cancelled."""
        try:
            async with asyncio.timeout(_READING_SECONDS):
                facts, problem = await read_server(self._client, self._states.clock, self._streams)
        except Exception as error:  # noqa: BLE001 - a periodic task: the next round is due all the same
            await self.close()
            self._families.up.labels().set(0)
            self._states.failed("redis", error, redis_problem(error))
            self._failures += 1
        else:
            self._families.show(facts)
            # What may not be read stays so: that is no reason to ask less often.
            self._states.succeeded("redis", facts, problem)
            self._failures = 0
        self._states.show_ages()
        return backed_off(self._interval_seconds, self._failures)

    async def close(self) -> None:
        """Close the connection, and show nothing any more; the next round opens another."""
        self._families.clear()
        with contextlib.suppress(Exception):  # it is given up: how it ends tells nothing
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._client.connection_pool.disconnect()
