"""A cluster in Redis or Valkey, for processes on any number of machines: each operation is one script."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from ordinaut_ext_observability.cluster.base import QUEUE_ROWS, Append, ClusterUnavailableError, Document, Put
from ordinaut_ext_observability.cluster.redis_client import FAILURES, redis_client, redis_problem


class RedisCluster:
    """A lease is a key, a document a hash, a queue a list. Time is the server's."""

    def __init__(self, url: str, installation: str) -> None:
        """Every key carries the `installation`, so that several may share a server. Connects at the first call."""
        try:
            self._client = redis_client(url)
        except ValueError as error:
            raise ClusterUnavailableError(str(error)) from None
        # A hash tag: in a Redis Cluster all keys of an installation are on one server.
        self._prefix = f"{{ordinaut-observability:{installation}}}:"
        self._scripts: dict[str, Any] = {}
        self.add_scripts(__package__, ("get", "write", "take", "hold_lease", "release_lease"))

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
        full_keys = [(self._prefix + key).encode(errors="backslashreplace") for key in keys]
        try:
            return self._scripts[name](keys=full_keys, args=arguments)
        except FAILURES as error:
            # Without the cause: its text may hold the user name, and would be in any traceback that is logged.
            raise ClusterUnavailableError(f"Redis {redis_problem(error).words}") from None

    def hold_lease(self, name: str, owner: str, ttl_seconds: float) -> bool:
        return bool(self.run_script("hold_lease", [f"lease:{name}"], owner, round(ttl_seconds * 1000)))

    def release_lease(self, name: str, owner: str) -> None:
        self.run_script("release_lease", [f"lease:{name}"], owner)

    def get(self, name: str) -> Document:
        version, content = self.run_script("get", [f"document:{name}"])
        return Document(int(version or 0), content or b"")

    def write(self, documents: Sequence[Put] = (), rows: Sequence[Append] = ()) -> bool:
        keys = [f"document:{put.name}" for put in documents] + [f"queue:{row.queue}" for row in rows]
        arguments: list[object] = [len(documents), QUEUE_ROWS]
        for put in documents:
            arguments += (put.version, put.content)
        for row in rows:
            arguments += (row.content, round(row.ttl_seconds * 1000))
        return bool(self.run_script("write", keys, *arguments))

    def take(self, queue: str, limit: int = 1) -> list[bytes]:
        rows: list[bytes] = self.run_script("take", [f"queue:{queue}"], limit)
        return rows

    def close(self) -> None:
        self._client.connection_pool.disconnect()
