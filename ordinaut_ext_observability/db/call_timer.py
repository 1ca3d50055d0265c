"""The base of proxies of asyncpg's objects: they behave as what they are given, and time some of its calls.

The arguments of asyncpg's methods, whichever release it is, are passed on as they are; they are neither looked at nor
kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.statement import Statement

Call: TypeAlias = Callable[..., Awaitable[Any]]


class CallTimer:
    """Counts calls on one connection, and knows whether the server has given up the transaction they are in."""

    __slots__ = ("aborted", "metrics")

    def __init__(self, metrics: DatabaseMetrics) -> None:
        self.metrics = metrics
        self.aborted = False
        """The last statement failed on the server: inside a transaction, COMMIT would then roll back."""

    async def run(self, statement: Statement | None, call: Call, /, *arguments: Any, **options: Any) -> Any:
        """Return or raise what the call does, and count it."""
        started = monotonic_seconds()
        try:
            result = await call(*arguments, **options)
        except BaseException as error:
            self.failed(statement, monotonic_seconds() - started, error)
            raise
        self.aborted = False
        self.metrics.record(statement, monotonic_seconds() - started)
        return result

    def failed(self, statement: Statement | None, seconds: float, error: BaseException) -> None:
        """Count a call that raised."""
        # Only what the server reports has a severity; errors of the driver's own leave a transaction as it is.
        if getattr(error, "severity", None) or isinstance(error, TimeoutError | asyncio.CancelledError):
            self.aborted = True
        self.metrics.record(statement, seconds, error)


class Proxy:
    """Behaves as the object it is given, but for the methods that a subclass has."""

    __slots__ = ("_statement", "_timer", "uninstrumented")

    def __init__(self, proxied: Any, timer: CallTimer, statement: Statement | None = None) -> None:
        """`statement` is what the calls execute, where all execute the same."""
        self.uninstrumented = proxied
        self._timer = timer
        self._statement = statement

    def __getattr__(self, name: str) -> Any:
        return getattr(self.uninstrumented, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uninstrumented!r}>"
