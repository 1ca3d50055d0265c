"""The Redis server: what it answers to a handful of cheap questions, at an interval, on a connection of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from redis import exceptions
from redis.asyncio import Redis

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.tasks import backed_off
from ordinaut_ext_observability.cluster.redis import async_redis_client, redis_problem
from ordinaut_ext_observability.collectors.facts import GroupFacts, RedisFacts
from ordinaut_ext_observability.collectors.states import CollectorStates
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.metrics.family import Gauge

_READING_SECONDS = 3.0
"""Longest time that all questions of a round take together."""

_CLOSING_SECONDS = 0.5
"""Longest wait for the goodbye, which a hung server does not hear."""

HOST_STREAM = b"events"

MAX_STREAMS = 50
MAX_GROUPS = 100
"""Consumer groups looked at, of all streams together."""

_PATTERN = b"ext:*"
"""Names of the streams of extensions."""

_SEARCH_INTERVAL_SECONDS = 60.0
_KEYS_AT_ONCE = 500
_CALLS_AT_ONCE = 20
"""So many keys a search looks at before it rests: of a larger keyspace it sees the rest in the searches after it."""

_LONGEST_NAME = 200
"""A key may have half a gigabyte; a label should not."""

_LARGEST_NUMBER = 2**64

_NUMBERS = ("used_memory", "maxmemory", "evicted_keys", "connected_clients")
"""Names of the last fields of `RedisFacts` in the answer to INFO."""


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


class StreamNames:
    """The names of the streams of extensions, found little by little."""

    def __init__(self) -> None:
        self.denied = False
        """True where the last search was not permitted."""
        self.searched_at: float | None = None
        self._cursor = 0
        self.found: set[bytes] = set()
        """Streams of extensions."""
        self._not_streams: set[bytes] = set()

    async def search(self, client: Redis, now: float) -> None:
        """Look through a bounded part of the keyspace, if it is time.

        Raises:
            RedisError, OSError: the server does not answer.
        """
        if self.searched_at is not None and now - self.searched_at < _SEARCH_INTERVAL_SECONDS:
            return
        try:
            await self._search(client)
            self.denied = False
        except exceptions.NoPermissionError:
            self.denied = True
        self.searched_at = now

    async def _search(self, client: Redis) -> None:
        for _ in range(_CALLS_AT_ONCE):
            if len(self.found) >= MAX_STREAMS - 1:
                return
            self._cursor, keys = await client.scan(self._cursor, match=_PATTERN, count=_KEYS_AT_ONCE)
            pipeline: Any = client.pipeline(transaction=False)
            new = [key for key in keys if key not in self.found and key not in self._not_streams]
            for key in new:
                pipeline.type(key)
            for key, kind in zip(new, await pipeline.execute(), strict=True):
                if kind != b"stream":
                    self._not_streams.add(key)
                elif len(self.found) < MAX_STREAMS - 1:
                    self.found.add(key)
            if self._cursor == 0:
                self._not_streams.clear()
                return


async def read_server(client: Redis, clock: Clock, streams: StreamNames) -> tuple[RedisFacts, Problem | None]:
    """Ask everything that may be asked: the facts, and NO_PERMISSION where some of it may not.

    Raises:
        RedisError, OSError: the server does not answer, or not usefully.
    """
    await streams.search(client, clock.monotonic())
    names = [HOST_STREAM, *sorted(streams.found)]  # the host's, whether it is there yet or not
    pipeline: Any = client.pipeline(transaction=False)
    # Several sections by name are understood from Redis 7 on; without a name it gives all of them, everywhere.
    pipeline.info()
    for name in names:
        pipeline.xlen(name)
        pipeline.xinfo_groups(name)
    info, *answers = await pipeline.execute(raise_on_error=False)
    begun = clock.monotonic()
    with contextlib.suppress(exceptions.NoPermissionError):  # a refusal is an answer, too
        await client.ping()
    latency = clock.monotonic() - begun
    denied = streams.denied or any(isinstance(answer, exceptions.NoPermissionError) for answer in (info, *answers))
    if isinstance(info, Exception) and not isinstance(info, exceptions.NoPermissionError):
        raise info
    numbers = [_number(info.get(name)) for name in _NUMBERS] if isinstance(info, dict) else []
    facts = RedisFacts(latency, *_read_streams(streams, names, answers), *numbers)
    return facts, Problem.NO_PERMISSION if denied else None


def _read_streams(
    streams: StreamNames, names: list[bytes], answers: list[Any]
) -> tuple[dict[str, int], tuple[GroupFacts, ...]]:
    """The lengths and groups; what is no stream any more is discarded."""
    lengths: dict[str, int] = {}
    groups: list[GroupFacts] = []
    for name, length, found in zip(names, answers[::2], answers[1::2], strict=True):
        if isinstance(length, int):
            lengths[_text(name)] = length
        if isinstance(found, list):
            groups += (_group(name, group) for group in found[: MAX_GROUPS - len(groups)])
        elif not isinstance(found, exceptions.NoPermissionError) and name != HOST_STREAM:
            lengths.pop(_text(name), None)
            streams.found.discard(name)
    return lengths, tuple(groups)


def _group(stream: bytes, group: Mapping[str, Any]) -> GroupFacts:
    lag = group.get("lag")  # from Redis 7 on; null where entries were deleted in between
    return GroupFacts(
        stream=_text(stream),
        group=_text(group.get("name", b"")),
        consumers=_number(group.get("consumers")),
        pending=_number(group.get("pending")),
        lag=lag if isinstance(lag, int) else None,
    )


def _number(value: object) -> int:
    """0 for what is no count: servers that are not quite Redis say anything."""
    return value if isinstance(value, int) and 0 <= value <= _LARGEST_NUMBER else 0


def _text(value: object) -> str:
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text[:_LONGEST_NAME]
