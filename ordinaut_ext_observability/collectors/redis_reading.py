"""One reading of a Redis server: its questions, and the facts in its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import exceptions
from redis.asyncio import Redis

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.collectors.facts import GroupFacts, Problem, RedisFacts
from ordinaut_ext_observability.collectors.redis_streams import HOST_STREAM, StreamNames

MAX_GROUPS = 100
"""Consumer groups looked at, of all streams together."""

_LONGEST_NAME = 200
"""A key may have half a gigabyte; a label should not."""

_LARGEST_NUMBER = 2**64


@dataclass(frozen=True, slots=True)
class RedisReading:
    """What one round of questions brought."""

    facts: RedisFacts
    informed: bool
    """False where INFO is not permitted, and its facts are missing."""
    problem: Problem | None
    """NO_PERMISSION when some questions were not permitted, None if all were answered."""


class _Denials:
    """Notes questions that are not permitted and lets every other error pass."""

    def __init__(self) -> None:
        self.any = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        denied = isinstance(error, exceptions.NoPermissionError)
        self.any = self.any or denied
        return denied


async def read_server(client: Redis, clock: Clock, streams: StreamNames, *, search: bool) -> RedisReading:
    """Ask everything that may be asked; `search` for new streams, too.

    Raises:
        RedisError: the server does not answer, or not usefully.
        OSError: likewise.
    """
    denials = _Denials()
    started = clock.monotonic()
    with denials:  # a refusal is an answer, too
        await client.ping()
    latency = clock.monotonic() - started
    info: Mapping[str, Any] = {}
    with denials:
        # Several sections by name are understood from Redis 7 on; without a name it gives all of them, everywhere.
        info = await client.info()
    if search:
        with denials:
            await streams.search(client)
    lengths, groups = await _read_streams(client, streams, denials)
    facts = RedisFacts(
        latency_seconds=latency,
        stream_lengths=lengths,
        groups=groups,
        used_memory_bytes=_number(info.get("used_memory")),
        max_memory_bytes=_number(info.get("maxmemory")),
        evicted_keys=_number(info.get("evicted_keys")),
        connected_clients=_number(info.get("connected_clients")),
    )
    return RedisReading(facts, bool(info), _problem(denials))


async def _read_streams(
    client: Redis, streams: StreamNames, denials: _Denials
) -> tuple[dict[str, int], tuple[GroupFacts, ...]]:
    """All in one exchange."""
    names = streams.known()
    pipeline: Any = client.pipeline(transaction=False)
    for name in names:
        pipeline.xlen(name)
        pipeline.xinfo_groups(name)
    answers = await pipeline.execute(raise_on_error=False)
    lengths: dict[str, int] = {}
    groups: list[GroupFacts] = []
    for name, length, found in zip(names, answers[::2], answers[1::2], strict=True):
        for answer in (length, found):
            denials.any = denials.any or isinstance(answer, exceptions.NoPermissionError)
        if isinstance(length, int):
            lengths[_text(name)] = length
        if isinstance(found, list):
            groups += (_group(name, group) for group in found[: MAX_GROUPS - len(groups)])
        elif not isinstance(found, exceptions.NoPermissionError) and name != HOST_STREAM:
            lengths.pop(_text(name), None)
            streams.forget(name)  # no such key, or it is no stream any more
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


def _problem(denials: _Denials) -> Problem | None:
    return Problem.NO_PERMISSION if denials.any else None


def _number(value: object) -> int:
    """0 for what is no count: servers that are not quite Redis say anything."""
    return value if isinstance(value, int) and 0 <= value <= _LARGEST_NUMBER else 0


def _text(value: object) -> str:
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text[:_LONGEST_NAME]
