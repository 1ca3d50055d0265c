"""Scripts run on a Redis or Valkey server, with bounded waits; a failure tells its reason without a secret."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from ordinaut_ext_observability.cluster.base import ClusterUnavailableError

TIMEOUT_SECONDS = 1.0
"""Longest wait for a connection, and for an answer; a script of ours takes milliseconds."""

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


class RedisScripts:
    """One client and the scripts of one package, under one prefix for all keys."""

    def __init__(self, url: str, package: str, names: Sequence[str], *, prefix: str, common: str = "") -> None:
        """Reads `<package>/scripts/<name>.lua`; `common` is the name of one that the others begin with.

        Connects at the first call.

        Raises:
            ClusterUnavailableError: the URL cannot be read.
        """
        self._client = _client(url)
        self._prefix = prefix
        beginning = _source(package, common) if common else ""
        self._scripts = {name: self._client.register_script(beginning + _source(package, name)) for name in names}

    def run(self, name: str, keys: Sequence[str], *arguments: Any) -> Any:
        """Run a script.

        Raises:
            ClusterUnavailableError: the server does not answer, or refuses.
        """
        # A name may hold anything, and is not ours to refuse.
        full_keys = [(self._prefix + key).encode(errors="backslashreplace") for key in keys]
        script = self._scripts[name]
        try:
            try:
                return script(keys=full_keys, args=arguments)
            except exceptions.NoPermissionError:
                # Redis 6 lets nobody name a connection who may not kill clients too: then it has no name.
                pool = self._client.connection_pool
                if pool.connection_kwargs.pop("client_name", None) is None:
                    raise
                pool.reset()
                return script(keys=full_keys, args=arguments)
        except (exceptions.RedisError, OSError, ValueError, TypeError) as error:
            # ValueError and TypeError: what the URL says is refused only when a connection is made of it.
            # Without the cause: its text may hold the user name, and would be in any traceback that is logged.
            raise ClusterUnavailableError(_problem(error)) from None

    def close(self) -> None:
        """Give back the connection; the next call opens another."""
        self._client.connection_pool.disconnect()


def prefix_of(installation: str) -> str:
    """The beginning of all keys of an installation, a hash tag: in a Redis Cluster they are on one server."""
    return f"{{ordinaut-observability:{installation}}}:"


def _client(url: str) -> Redis:
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "ordinaut-observability",
    }
    if not url.startswith("unix:"):  # redis-py's connections to Unix sockets do not know it
        options["socket_connect_timeout"] = TIMEOUT_SECONDS
    try:
        client = Redis.from_url(url, **options)
    except ValueError:
        # The cause may quote a part of the password, such as one that holds a colon or slash.
        raise ClusterUnavailableError("the URL of Redis cannot be read") from None
    # What is read is bytes, and the time-outs are ours, whatever the URL says.
    client.connection_pool.connection_kwargs.update(options, decode_responses=False)
    return client


def _source(package: str, name: str) -> str:
    return (resources.files(package) / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


def _problem(error: Exception) -> str:
    text = str(error)
    for quoted, problem in _PROBLEMS_IN_SCRIPTS.items():
        if quoted in text:
            return problem
    return next((problem for kind, problem in _PROBLEMS if isinstance(error, kind)), "Redis cannot be used")
