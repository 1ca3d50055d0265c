"""One reading of a Redis server: its questions, and the facts in its answers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from redis import exceptions
from redis.asyncio import Redis

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.collectors.facts import GroupFacts, RedisFacts
from ordinaut_ext_observability.errors import Problem

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

_NUMBERS = {
    "used_memory_bytes": "used_memory",
    "max_memory_bytes": "maxmemory",
    "evicted_keys": "evicted_keys",
    "connected_clients": "connected_clients",
}
"""Fields of `RedisFacts`, and what they are called in the answer to INFO."""


class StreamNames:
    """The names of streams: the host's, and those of extensions, found little by little."""

    def __init__(self) -> None:
        self.denied = False
        """True where the last search was not permitted."""
        self.searched_at: float | None = None
        self._cursor = 0
        self._found: dict[bytes, None] = {}
        self._not_streams: set[bytes] = set()

    def known(self) -> list[bytes]:
        """The host's stream, whether it is there yet or not, then others in the order they were found in."""
        return [HOST_STREAM, *self._found]

    def discard(self, name: bytes) -> None:
        """There is no such stream any more."""
        self._found.pop(name, None)

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
            if len(self._found) >= MAX_STREAMS - 1:
                return
            self._cursor, keys = await client.scan(self._cursor, match=_PATTERN, count=_KEYS_AT_ONCE)
            pipeline: Any = client.pipeline(transaction=False)
            new = [key for key in keys if key not in self._found and key not in self._not_streams]
            for key in new:
                pipeline.type(key)
            for key, kind in zip(new, await pipeline.execute(), strict=True):
                if kind != b"stream":
                    self._not_streams.add(key)
                elif len(self._found) < MAX_STREAMS - 1:
                    self._found[key] = None
            if self._cursor == 0:
                self._not_streams.clear()
                return


async def read_server(client: Redis, clock: Clock, streams: StreamNames) -> tuple[RedisFacts, Problem | None]:
    """Ask everything that may be asked: the facts, and NO_PERMISSION where some of it may not.

    Raises:
        RedisError, OSError: the server does not answer, or not usefully.
    """
    await streams.search(client, clock.monotonic())
    names = streams.known()
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
    if isinstance(info, exceptions.NoPermissionError):
        numbers = {}
    elif isinstance(info, Exception):
        raise info
    else:
        numbers = {field: _number(info.get(name)) for field, name in _NUMBERS.items()}
    lengths, groups = _read_streams(streams, names, answers)
    facts = RedisFacts(latency, lengths, groups, **numbers)
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
            streams.discard(name)
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
