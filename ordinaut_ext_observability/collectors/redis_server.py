"""The Redis server: what it answers to a handful of cheap questions, at an interval, on a connection of our own."""

from __future__ import annotations

import asyncio
import contextlib

from ordinaut_ext_observability.background.tasks import backed_off
from ordinaut_ext_observability.cluster.redis_client import async_redis_client, redis_problem
from ordinaut_ext_observability.collectors.facts import RedisFacts
from ordinaut_ext_observability.collectors.redis_reading import StreamNames, read_server
from ordinaut_ext_observability.collectors.states import CollectorStates
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.metrics.family import Gauge

_READING_SECONDS = 3.0
"""Longest time that all questions of a round take together."""

_CLOSING_SECONDS = 0.5
"""Longest wait for the goodbye, which a hung server does not hear."""


class RedisCollector:
    """Reads the server, until `close`: then nothing of it is left, neither a connection nor a gauge."""

    def __init__(self, url: str, metrics: RedisServerMetrics, states: CollectorStates, interval_seconds: float) -> None:
        """Connects at the first round.

        Raises:
            ValueError: the URL cannot be read.
        """
        self._client = async_redis_client(url)
        self._metrics = metrics
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
            _show(self._metrics, None)
            await self._disconnect()
            self._states.failed("redis", error, redis_problem(error))
            self._failures += 1
        else:
            _show(self._metrics, facts)
            # What may not be read stays so: that is no reason to ask less often.
            self._states.succeeded("redis", facts, problem)
            self._failures = 0
        self._states.show_ages()
        return backed_off(self._interval_seconds, self._failures)

    async def close(self) -> None:
        """Close the connection, and show nothing any more; the next round opens another."""
        for family in vars(self._metrics).values():
            if isinstance(family, Gauge):
                family.clear()
        await self._disconnect()

    async def _disconnect(self) -> None:
        with contextlib.suppress(Exception):  # it is given up: how it ends tells nothing
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._client.connection_pool.disconnect()


def _show(metrics: RedisServerMetrics, facts: RedisFacts | None) -> None:
    """Show the facts of just now, and nothing else; None: the server does not answer."""
    metrics.up.labels().set(facts is not None)
    if facts is not None:
        metrics.ping_seconds.labels().observe(facts.latency_seconds)
    facts = facts or RedisFacts(0.0)
    for gauge, number in (
        (metrics.memory_used, facts.used_memory_bytes),
        (metrics.memory_max, facts.max_memory_bytes),
        (metrics.evicted_keys, facts.evicted_keys),
        (metrics.connected_clients, facts.connected_clients),
    ):
        gauge.replace({(): number} if number is not None else {})
    groups = {(group.stream, group.group): group for group in facts.groups}
    metrics.stream_length.replace({(stream,): length for stream, length in facts.stream_lengths.items()})
    metrics.group_pending.replace({labels: group.pending for labels, group in groups.items()})
    metrics.group_lag.replace({labels: group.lag for labels, group in groups.items() if group.lag is not None})
    metrics.group_consumers.replace({labels: group.consumers for labels, group in groups.items()})
