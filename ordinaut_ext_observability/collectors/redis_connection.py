"""One connection to Redis, with bounded waits, and what its failures mean."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ordinaut_ext_observability.collectors.facts import Problem

TIMEOUT_SECONDS = 1.0
"""Of a connection, and of each answer."""

_CLOSING_SECONDS = 0.5
"""Of saying goodbye, which a hung server does not hear."""

CLIENT_NAME = "ordinaut-observability"

_PROBLEMS: tuple[tuple[type[Exception], Problem], ...] = (
    (exceptions.AuthenticationError, Problem.REFUSED),
    (exceptions.AuthorizationError, Problem.REFUSED),
    (exceptions.NoPermissionError, Problem.NO_PERMISSION),
    (exceptions.BusyLoadingError, Problem.TIMEOUT),
    (exceptions.TimeoutError, Problem.TIMEOUT),
    (TimeoutError, Problem.TIMEOUT),
    (exceptions.ConnectionError, Problem.UNREACHABLE),
    (OSError, Problem.UNREACHABLE),
)

# The texts of errors that redis-py has no class for in all its versions.
_TEXTS = (
    ("max number of clients", Problem.TOO_MANY_CONNECTIONS),
    ("protected mode", Problem.REFUSED),
    ("invalid username-password", Problem.REFUSED),
    ("certificate verify failed", Problem.REFUSED),
)


def problem_of(error: Exception) -> Problem:
    """Why a call failed."""
    text = str(error).lower()
    for part, problem in _TEXTS:
        if part in text:
            return problem
    for kind, problem in _PROBLEMS:
        if isinstance(error, kind):
            return problem
    return Problem.FAILED


def _anonymous() -> dict[str, None]:
    """Options with which older versions of redis-py do not tell their name.

    That call of theirs swallows the one answer of a server that has too many clients; newer ones reject the options.
    """
    parameters = inspect.signature(AbstractConnection).parameters
    return {} if "driver_info" in parameters else {"lib_name": None, "lib_version": None}


class RedisConnection:
    """A client with a single connection, made when it is asked for."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            ValueError: the URL cannot be read.
        """
        options: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "retry": Retry(NoBackoff(), 0)}
        if not url.startswith("unix:"):  # redis-py's connections to Unix sockets do not know it
            options["socket_connect_timeout"] = TIMEOUT_SECONDS
        try:
            self._pool: ConnectionPool = ConnectionPool.from_url(url, **options)
        except ValueError:
            # The cause may quote a part of the password.
            raise ValueError("the URL of Redis cannot be read") from None
        # What is read is bytes, and the time-outs are ours, whatever the URL says. No name is asked for with the
        # connection: where the user may not give one, there would be no connection.
        self._pool.connection_kwargs.update(options, decode_responses=False, client_name=None, **_anonymous())
        self._client: Redis | None = None

    async def client(self) -> Redis:
        """The client, connected before or with this call.

        Raises:
            RedisError: the server does not let us in, or does not answer.
            OSError: likewise.
        """
        if self._client is None:
            client = Redis(connection_pool=self._pool)
            try:
                await client.client_setname(CLIENT_NAME)
            except exceptions.ResponseError as error:
                if problem_of(error) is Problem.TOO_MANY_CONNECTIONS:
                    raise
            self._client = client
        return self._client

    async def drop(self) -> None:
        """Close the connection; the next call opens another."""
        self._client = None
        with contextlib.suppress(Exception):  # it is given up: how it ends tells nothing
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._pool.disconnect()
