"""Redis or Valkey: clients, what their failures mean, and a cluster for processes on any number of machines.

Every wait of a client is bounded, nothing is tried twice, and answers are bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import resources
from typing import Any, TypeVar

from redis import Redis, exceptions
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from ordinaut_ext_observability.cluster.base import (
    QUEUE_ROWS,
    TABLE_RECORDS,
    Append,
    ClusterUnavailableError,
    Document,
    Put,
    Record,
)
from ordinaut_ext_observability.errors import Problem

TIMEOUT_SECONDS = 1.0
"""Longest wait for a connection, and for an answer: what is asked takes milliseconds."""

ClientT = TypeVar("ClientT", Redis, AsyncRedis)

CLIENT_NAME = "ordinaut-observability"

_BY_CLASS: dict[Problem, tuple[type[Exception], ...]] = {
    Problem.REFUSED: (exceptions.AuthenticationError, exceptions.AuthorizationError),
    Problem.NO_PERMISSION: (exceptions.NoPermissionError,),
    Problem.OUT_OF_MEMORY: (exceptions.OutOfMemoryError,),
    Problem.READ_ONLY: (exceptions.ReadOnlyError,),
    Problem.TIMEOUT: (exceptions.BusyLoadingError, exceptions.TimeoutError, TimeoutError),
    Problem.UNREACHABLE: (exceptions.ConnectionError, OSError),
}

# Texts of errors that redis-py has no class for in all its versions, and answers that Redis 6 quotes in a script's.
_BY_TEXT = {
    Problem.TOO_MANY_CONNECTIONS: ("max number of clients",),
    Problem.REFUSED: ("protected mode", "invalid username-password", "certificate verify failed"),
    Problem.OUT_OF_MEMORY: ("-oom ",),
    Problem.READ_ONLY: ("-readonly ",),
    Problem.NO_PERMISSION: ("-noperm ",),
}


def redis_problem(error: BaseException) -> Problem:
    """The reason why a call failed. Show it and not the error, whose text may hold a user name or a password."""
    text = str(error).lower()
    found = [problem for problem, parts in _BY_TEXT.items() if any(part in text for part in parts)]
    found += [problem for problem, kinds in _BY_CLASS.items() if isinstance(error, kinds)]
    return found[0] if found else Problem.FAILED


def async_redis_client(url: str) -> AsyncRedis:
    """A client for one event loop; it connects at the first call. Raises ValueError where the URL cannot be read."""
    return _make(AsyncRedis, url, retry=AsyncRetry(NoBackoff(), 0), redis_connect_func=_introduce_async)


def _make(kind: type[ClientT], url: str, **options: Any) -> ClientT:
    options |= {"socket_timeout": TIMEOUT_SECONDS, "client_name": None}
    if "driver_info" not in inspect.signature(AbstractConnection).parameters:
        # Older versions of redis-py tell their name, and that call of theirs swallows the one answer of a server that
        # has too many clients. Newer ones reject these options.
        options |= {"lib_name": None, "lib_version": None}
    if not url.startswith("unix:"):  # redis-py's connections to Unix sockets do not know it
        options["socket_connect_timeout"] = TIMEOUT_SECONDS
    try:
        client: ClientT = kind.from_url(url, **options)
    except ValueError:
        # Without the cause, which may quote a part of the password, such as one that holds a colon or slash.
        raise ValueError("the URL of Redis cannot be read") from None
    # Answers are bytes, and the time-outs are ours, whatever the URL says.
    client.connection_pool.connection_kwargs.update(options, decode_responses=False)
    return client


# The name is given apart from connecting: where the user may not give one, the connection is as good without.
def _introduce(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("CLIENT", "SETNAME", CLIENT_NAME)
    try:
        connection.read_response()
    except exceptions.ResponseError as error:
        if redis_problem(error) is Problem.TOO_MANY_CONNECTIONS:
            raise


async def _introduce_async(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("CLIENT", "SETNAME", CLIENT_NAME)
    try:
        await connection.read_response()
    except exceptions.ResponseError as error:
        if redis_problem(error) is Problem.TOO_MANY_CONNECTIONS:
            raise


class RedisCluster:
    """Each operation is one script: a lease is a key, a document a hash, a queue a list.

    A table of records is a hash, beside the instants at which those end that do. Time is the server's.
    """

    def __init__(self, url: str, installation: str) -> None:
        """Every key carries the `installation`, so that several may share a server. Connects at the first call."""
        try:
            self._client = _make(Redis, url, retry=Retry(NoBackoff(), 0), redis_connect_func=_introduce)
        except ValueError as error:
            raise ClusterUnavailableError(str(error)) from None
        # A hash tag: in a Redis Cluster all keys of an installation are on one server.
        self._prefix = f"{{ordinaut-observability:{installation}}}:"
        self._scripts: dict[str, Any] = {}
        self.add_scripts(__package__, ("get", "write", "records", "take", "hold_lease", "release_lease"))

    def add_scripts(self, package: str, names: Sequence[str], *, common: str = "") -> None:
        """Read `<package>/scripts/<name>.lua`; each begins with the script `common`, where one is named."""
        folder = resources.files(package) / "scripts"
        beginning = (folder / f"{common}.lua").read_text("utf-8") if common else ""
        for name in names:
            source = beginning + (folder / f"{name}.lua").read_text("utf-8")
            self._scripts[name] = self._client.register_script(source)

    def run_script(self, name: str, keys: Sequence[str], *arguments: Any) -> Any:
        """Run a script on these keys of the installation."""
        # A name may hold anything, and is not ours to refuse.
        full_keys = [_encoded(self._prefix + key) for key in keys]
        try:
            return self._scripts[name](keys=full_keys, args=arguments)
        except (exceptions.RedisError, OSError, ValueError, TypeError) as error:
            # ValueError and TypeError: the URL has a part of which no connection can be made.
            # Without the cause: its text may hold the user name, and would be in any traceback that is logged.
            raise ClusterUnavailableError(f"Redis {redis_problem(error).words}") from None

    def hold_lease(self, name: str, owner: str, ttl_seconds: float) -> bool:
        return bool(self.run_script("hold_lease", [f"lease:{name}"], owner, round(ttl_seconds * 1000)))

    def release_lease(self, name: str, owner: str) -> None:
        self.run_script("release_lease", [f"lease:{name}"], owner)

    def get(self, name: str) -> Document:
        version, content = self.run_script("get", [f"document:{name}"])
        return Document(int(version or 0), content or b"")

    def write(self, documents: Sequence[Put] = (), rows: Sequence[Append] = (), records: Sequence[Record] = ()) -> bool:
        keys = [f"document:{put.name}" for put in documents] + [f"queue:{row.queue}" for row in rows]
        arguments: list[Any] = [len(documents), len(rows), QUEUE_ROWS, TABLE_RECORDS]
        for put in documents:
            arguments += (put.version, put.content)
        for row in rows:
            arguments += (row.content, round(row.ttl_seconds * 1000))
        for table, key, content, ttl_seconds in records:
            keys += _keys_of_table(table)
            ttl = "" if ttl_seconds is None else round(ttl_seconds * 1000)
            arguments += (_encoded(key), "" if content is None else b"=" + content, ttl)
        return bool(self.run_script("write", keys, *arguments))

    def records(self, *tables: str) -> list[dict[str, bytes]]:
        found = self.run_script("records", [key for table in tables for key in _keys_of_table(table)])
        return [{key.decode(): content for key, content in zip(flat[::2], flat[1::2], strict=True)} for flat in found]

    def take(self, queue: str, limit: int = 1) -> list[bytes]:
        rows: list[bytes] = self.run_script("take", [f"queue:{queue}"], limit)
        return rows

    def close(self) -> None:
        self._client.connection_pool.disconnect()


def _keys_of_table(table: str) -> tuple[str, str]:
    return f"records:{table}", f"records-until:{table}"


def _encoded(name: str) -> bytes:
    return name.encode(errors="backslashreplace")
