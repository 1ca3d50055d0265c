"""Which streams there are: the host's `events`, and those of extensions, `ext:*`, found little by little."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

HOST_STREAM = b"events"

MAX_STREAMS = 50
_PATTERN = b"ext:*"
_KEYS_AT_ONCE = 500
_CALLS_AT_ONCE = 20
"""So many keys a search looks at before it rests: of a larger keyspace it sees the rest in the searches after it."""


class StreamNames:
    """The names that are known; at most `MAX_STREAMS`."""

    def __init__(self) -> None:
        self._cursor = 0
        self._found: dict[bytes, None] = {}
        self._not_streams: set[bytes] = set()

    def known(self) -> list[bytes]:
        """The host's stream, whether it is there yet or not, then others in the order they were found in."""
        return [HOST_STREAM, *self._found]

    def forget(self, name: bytes) -> None:
        """There is no such stream any more."""
        self._found.pop(name, None)

    async def search(self, client: Redis) -> None:
        """Look through a bounded part of the keyspace.

        Raises:
            RedisError: the server does not answer, or we may not ask.
            OSError: likewise.
        """
        for _ in range(_CALLS_AT_ONCE):
            if len(self._found) >= MAX_STREAMS - 1:
                return
            self._cursor, keys = await client.scan(self._cursor, match=_PATTERN, count=_KEYS_AT_ONCE)
            await self._add(client, [key for key in keys if key not in self._found and key not in self._not_streams])
            if self._cursor == 0:
                self._not_streams.clear()
                return

    async def _add(self, client: Redis, keys: list[bytes]) -> None:
        if not keys:
            return
        pipeline: Any = client.pipeline(transaction=False)
        for key in keys:
            pipeline.type(key)
        for key, kind in zip(keys, await pipeline.execute(), strict=True):
            if kind != b"stream":
                self._not_streams.add(key)
            elif len(self._found) < MAX_STREAMS - 1:
                self._found[key] = None
