"""A cluster in Redis or Valkey, for processes on any number of machines: each operation is one script."""

from __future__ import annotations

from collections.abc import Sequence

from ordinaut_ext_observability.cluster.base import QUEUE_ROWS, Append, Document, Put
from ordinaut_ext_observability.cluster.redis_scripts import RedisScripts, prefix_of


class RedisCluster:
    """A lease is a key, a document a hash, a queue a list. Time is the server's."""

    def __init__(self, url: str, installation: str) -> None:
        """Every key carries the `installation`, so that several may share a server.

        Raises:
            ClusterUnavailableError: the URL cannot be read.
        """
        self._scripts = RedisScripts(
            url,
            __package__,
            ("get", "write", "take", "hold_lease", "release_lease"),
            prefix=prefix_of(installation),
        )

    def hold_lease(self, name: str, owner: str, ttl_seconds: float) -> bool:
        return bool(self._scripts.run("hold_lease", [f"lease:{name}"], owner, round(ttl_seconds * 1000)))

    def release_lease(self, name: str, owner: str) -> None:
        self._scripts.run("release_lease", [f"lease:{name}"], owner)

    def get(self, name: str) -> Document:
        version, content = self._scripts.run("get", [f"document:{name}"])
        return Document(int(version or 0), content or b"")

    def write(self, documents: Sequence[Put] = (), rows: Sequence[Append] = ()) -> bool:
        keys = [f"document:{put.name}" for put in documents] + [f"queue:{row.queue}" for row in rows]
        arguments: list[object] = [len(documents), QUEUE_ROWS]
        for put in documents:
            arguments += (put.version, put.content)
        for row in rows:
            arguments += (row.content, round(row.ttl_seconds * 1000))
        return bool(self._scripts.run("write", keys, *arguments))

    def take(self, queue: str, limit: int = 1) -> list[bytes]:
        rows: list[bytes] = self._scripts.run("take", [f"queue:{queue}"], limit)
        return rows

    def close(self) -> None:
        self._scripts.close()
