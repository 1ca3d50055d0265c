"""A relay store in Redis or Valkey: each operation is one script, by the server's clock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from ordinaut_ext_observability.relay.base import (
    EPOCHS_KEPT,
    Published,
    Reading,
    Refused,
    Retired,
    StoredVector,
    StoreUnavailableError,
)

_TIMEOUT_SECONDS = 1.0
_ORIGIN_TIMEOUT_SECONDS = 0.1
"""Of what the host's own work waits for."""

_ORIGINS_KEPT = 100
_SEED_BYTES = 16_000_000
"""Vectors given at once: within the time-out, and far below what a server takes as one command."""

_PROBLEMS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationError, "Redis does not accept the user or password"),
    (exceptions.AuthorizationError, "Redis does not accept the user or password"),
    (exceptions.NoPermissionError, "Redis does not permit a command or key that is needed"),
    (exceptions.OutOfMemoryError, "Redis is out of memory"),
    (exceptions.ReadOnlyError, "Redis is read-only, a replica"),
    (exceptions.BusyLoadingError, "Redis is starting"),
    (exceptions.TimeoutError, "Redis does not answer in time"),
    (TimeoutError, "Redis does not answer in time"),
    (exceptions.ConnectionError, "Redis cannot be reached"),
    (OSError, "Redis cannot be reached"),
    (exceptions.ResponseError, "Redis refuses the command"),
)
_PROBLEMS_IN_SCRIPTS = {
    "-OOM ": "Redis is out of memory",
    "-READONLY ": "Redis is read-only, a replica",
    "-NOPERM ": "Redis does not permit a command or key that is needed",
}
"""Redis 6 and older quote the answer to a command in a script in that to the script."""


class RedisStore:
    """Vectors in a Redis or Valkey server, for processes on any number of machines.

    All keys have one hash tag, so that in a cluster they are on one server. Live vectors do not expire.
    """

    name = "redis"

    def __init__(self, url: str, *, interval_seconds: float, expiry_seconds: float) -> None:
        """Connects at the first call.

        Raises:
            StoreUnavailableError: the URL cannot be read.
        """
        self.interval_seconds = interval_seconds
        self._silent_after_ms = round(2 * expiry_seconds * 1000)
        self._prefix = f"{{ordinaut-observability}}:relay:{round(interval_seconds * 1000)}:"
        client = _client(url, _TIMEOUT_SECONDS)
        common = _script("common")
        self._publish, self._read, self._fold, self._seed = (
            client.register_script(common + _script(name)) for name in ("publish", "read", "fold", "seed")
        )
        self._hold_lease = client.register_script(_script("hold_lease"))
        origin_client = _client(url, _ORIGIN_TIMEOUT_SECONDS)
        self._push_origin = origin_client.register_script(_script("push_origin"))
        self._pop_origin = origin_client.register_script(_script("pop_origin"))
        self._pools = [client.connection_pool, origin_client.connection_pool]

    def publish(
        self, incarnation: str, sequence: int, content: bytes, *, last_store: str, fenced: bool = False
    ) -> Published | Refused:
        store, now_ms, outcome, number = self._run(
            self._publish,
            _candidate(),
            incarnation,
            sequence,
            content,
            last_store,
            repr(self.interval_seconds),
            self._silent_after_ms,
            EPOCHS_KEPT,
            int(fenced),
        )
        if outcome == b"published":
            return Published(store.decode(), now_ms / 1000, int(number))
        return Refused(store.decode(), now_ms / 1000, int(number) if number else None)

    def read(self, known_epochs: Mapping[str, int], *, store: str, retired_version: int) -> Reading:
        held_store, now_ms, seen, vectors, retired = self._run(
            self._read,
            _candidate(),
            store,
            retired_version,
            json.dumps(dict(known_epochs)),
            repr(self.interval_seconds),
        )
        return Reading(
            store=held_store.decode(),
            now_seconds=now_ms / 1000,
            seen_seconds={
                incarnation.decode(): float(ms) / 1000 for incarnation, ms in zip(seen[::2], seen[1::2], strict=True)
            },
            vectors=tuple(
                _stored(incarnation, field, content)
                for incarnation, field, content in zip(vectors[::3], vectors[1::3], vectors[2::3], strict=True)
            ),
            retired=Retired(retired[0], retired[1], json.loads(retired[2])) if retired else None,
        )

    def fold(self, *, store: str, expected_version: int, retired: Retired, folding: Mapping[str, int]) -> bool:
        done = self._run(
            self._fold,
            _candidate(),
            store,
            expected_version,
            retired.version,
            retired.content,
            json.dumps(dict(retired.folded)),
            json.dumps(dict(folding)),
        )
        return bool(done)

    def seed(self, *, store: str, retired: Retired, vectors: Iterable[StoredVector], seen: Mapping[str, float]) -> None:
        ordered = sorted(vectors, key=lambda vector: vector.sequence)
        folded = json.dumps(dict(retired.folded))
        for batch in _batches(ordered):
            given: list[Any] = []
            for vector in batch:
                seen_ms = round(seen.get(vector.incarnation, 0) * 1000)
                given += (vector.incarnation, vector.epoch, vector.sequence, seen_ms, vector.content)
            self._run(self._seed, _candidate(), store, retired.version, retired.content, folded, *given)

    def push_origin(self, task_id: str, content: bytes, *, ttl_seconds: float) -> None:
        self._run(self._push_origin, content, round(ttl_seconds * 1000), _ORIGINS_KEPT, key=f"origin:{task_id}")

    def pop_origin(self, task_id: str) -> bytes | None:
        content: bytes | None = self._run(self._pop_origin, key=f"origin:{task_id}")
        return content

    def hold_lease(self, owner: str, ttl_seconds: float) -> bool:
        return bool(self._run(self._hold_lease, owner, round(ttl_seconds * 1000), key="lease"))

    def close(self) -> None:
        for pool in self._pools:
            pool.disconnect()

    def _run(self, script: Any, *values: Any, key: str = "") -> Any:
        # A task id may hold anything, and is not ours to refuse.
        keys = [(self._prefix + key).encode(errors="backslashreplace")]
        try:
            try:
                return script(keys=keys, args=values)
            except exceptions.NoPermissionError:
                if not self._connect_without_name():
                    raise
                return script(keys=keys, args=values)
        except (exceptions.RedisError, OSError, ValueError, TypeError) as error:
            # ValueError and TypeError: what the URL says is refused only when a connection is made of it.
            # Without the cause: its text may hold the user name, and would be in any traceback that is logged.
            raise StoreUnavailableError(_problem(error)) from None

    def _connect_without_name(self) -> bool:
        """Whether connections had a name until now. Redis 6 lets nobody give one who may not kill clients too."""
        named = [pool for pool in self._pools if pool.connection_kwargs.pop("client_name", None)]
        for pool in named:
            pool.reset()
        return bool(named)


def _client(url: str, timeout_seconds: float) -> Redis:
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "ordinaut-observability",
    }
    if not url.startswith("unix:"):  # redis-py's connections to Unix sockets do not know it
        options["socket_connect_timeout"] = timeout_seconds
    try:
        client = Redis.from_url(url, **options)
    except ValueError:
        # The cause may quote a part of the password, such as one that holds a colon or slash.
        raise StoreUnavailableError("the URL of Redis cannot be read") from None
    # What is read is bytes, and the time-outs are ours, whatever the URL says.
    client.connection_pool.connection_kwargs.update(options, decode_responses=False)
    return client


def _script(name: str) -> str:
    return (resources.files(__package__) / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


def _candidate() -> str:
    """The store's id, should it have none."""
    return os.urandom(16).hex()


def _stored(incarnation: bytes, field: bytes, content: bytes) -> StoredVector:
    epoch, _, sequence = field.partition(b".")
    return StoredVector(incarnation.decode(), int(sequence), int(epoch), content)


def _batches(vectors: Iterable[StoredVector]) -> Iterator[list[StoredVector]]:
    """At least one, since the retired total goes with it."""
    batch: list[StoredVector] = []
    size = 0
    for vector in vectors:
        if batch and size + len(vector.content) > _SEED_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(vector)
        size += len(vector.content)
    yield batch


def _problem(error: Exception) -> str:
    text = str(error)
    for quoted, problem in _PROBLEMS_IN_SCRIPTS.items():
        if quoted in text:
            return problem
    for kind, problem in _PROBLEMS:
        if isinstance(error, kind):
            return problem
    return "Redis cannot be used"
