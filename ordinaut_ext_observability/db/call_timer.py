"""The base of proxies of asyncpg's objects: they behave as what they are given, and time some of its calls.

The arguments of asyncpg's methods, whichever release it is, are passed on as they are; they are neither looked at nor
kept.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.statement import Statement

ResultT = TypeVar("ResultT")


class CallTimer:
    """Counts calls on one connection, and knows whether the server has given up the transaction they are in."""

    __slots__ = ("aborted", "metrics")

    def __init__(self, metrics: DatabaseMetrics) -> None:
        self.metrics = metrics
        self.aborted = False
        """The last statement failed on the server: inside a transaction, COMMIT would then roll back."""

    async def run(
        self,
        statement: Statement | None,
        call: Callable[..., Awaitable[ResultT]],
        /,
        *arguments: Any,
        **options: Any,
    ) -> ResultT:
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
        self.metrics.record(statement, seconds)
        self.metrics.record_error(statement, error)


class Proxy:
    """Behaves as the object it is given, but for the methods that are counted."""

    __slots__ = ("_proxied",)

    counted: ClassVar[frozenset[str]] = frozenset()
    """Methods whose calls are counted, where this release of asyncpg has them."""

    def __init__(self, proxied: Any) -> None:
        self._proxied = proxied

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._proxied, name)
        return functools.partial(self._count, name, value) if name in self.counted else value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._proxied!r}>"

    def _count(self, name: str, call: Callable[..., Awaitable[Any]], /, *arguments: Any, **options: Any) -> Any:
        """Call the counted method with this name; a proxy that has such overrides this."""
        raise NotImplementedError
