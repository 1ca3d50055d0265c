"""The Redis server: what it answers to a handful of cheap questions, at an interval, on a connection of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from redis import exceptions

from ordinaut_ext_observability.background.tasks import backed_off
from ordinaut_ext_observability.cluster.redis import async_redis_client, redis_problem
from ordinaut_ext_observability.collectors.states import CollectorStates, GroupFacts, RedisFacts
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
        """Connects at the first round; raises ValueError where the URL cannot be read."""
        self._client = async_redis_client(url)
        self._metrics = metrics
        self._states = states
        self._interval_seconds = interval_seconds
        self._failures = 0
        self._streams: set[bytes] = set()
        """Those of extensions, found little by little."""
        self._cursor = 0
        self._search_due = 0.0
        """When the next search begins, on the monotonic clock."""
        self._search_denied = False

    async def collect(self) -> float:
        """Read once, and return the seconds until the next round. Never raises but when cancelled."""
        try:
            async with asyncio.timeout(_READING_SECONDS):
                await self._search()
                facts, problem = await self._read()
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

    async def _search(self) -> None:
        """Look for streams in a bounded part of the keyspace, if it is time."""
        now = self._states.clock.monotonic()
        if now < self._search_due:
            return
        self._search_denied = False
        for _ in range(_CALLS_AT_ONCE):
            try:
                self._cursor, found = await self._client.scan(
                    self._cursor, match=_PATTERN, count=_KEYS_AT_ONCE, _type="stream"
                )
            except exceptions.ResponseError as error:  # or the server is older than Redis 6, and knows no types here
                self._search_denied = isinstance(error, exceptions.NoPermissionError)
                break
            new = [name for name in found if name not in self._streams]
            self._streams.update(new[: MAX_STREAMS - 1 - len(self._streams)])
            if self._cursor == 0 or len(self._streams) >= MAX_STREAMS - 1:
                break
        self._search_due = now + _SEARCH_INTERVAL_SECONDS

    async def _read(self) -> tuple[RedisFacts, Problem | None]:
        """Ask everything that may be asked: the facts, and NO_PERMISSION where some of it may not."""
        names = [HOST_STREAM, *sorted(self._streams)]  # the host's, whether it is there yet or not
        pipeline: Any = self._client.pipeline(transaction=False)
        # Several sections by name are understood from Redis 7 on; without a name it gives all of them, everywhere.
        pipeline.info()
        for name in names:
            pipeline.xlen(name)
            pipeline.xinfo_groups(name)
        info, *answers = await pipeline.execute(raise_on_error=False)
        begun = self._states.clock.monotonic()
        with contextlib.suppress(exceptions.NoPermissionError):  # a refusal is an answer, too
            await self._client.ping()
        latency = self._states.clock.monotonic() - begun
        denied = any(isinstance(answer, exceptions.NoPermissionError) for answer in (info, *answers))
        if isinstance(info, Exception) and not isinstance(info, exceptions.NoPermissionError):
            raise info
        numbers = [_number(info.get(name)) for name in _NUMBERS] if isinstance(info, dict) else []
        facts = RedisFacts(latency, *self._read_streams(names, answers), *numbers)
        return facts, Problem.NO_PERMISSION if denied or self._search_denied else None

    def _read_streams(self, names: list[bytes], answers: list[Any]) -> tuple[dict[str, int], list[GroupFacts]]:
        """The lengths and groups; what is no stream any more is discarded."""
        lengths: dict[str, int] = {}
        groups: list[GroupFacts] = []
        for name, length, found in zip(names, answers[::2], answers[1::2], strict=True):
            if isinstance(found, Exception) and not isinstance(found, exceptions.NoPermissionError):
                self._streams.discard(name)
            if isinstance(length, int) and (name == HOST_STREAM or name in self._streams):
                lengths[_text(name)] = length
            if isinstance(found, list):
                groups += (_group(name, group) for group in found[: MAX_GROUPS - len(groups)])
        return lengths, groups


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
    metrics.stream_length.replace({(stream,): length for stream, length in facts.stream_lengths.items()})
    groups = {(group["stream"], group["group"]): group for group in facts.groups}
    metrics.group_pending.replace({name: group["pending"] for name, group in groups.items()})
    metrics.group_lag.replace({name: group["lag"] for name, group in groups.items() if group["lag"] is not None})
    metrics.group_consumers.replace({name: group["consumers"] for name, group in groups.items()})


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
