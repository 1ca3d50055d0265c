"""Timing the calls on one asyncpg connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.db.definitions import DatabaseMetrics, StatementSeries

ResultT = TypeVar("ResultT")


class Measuring:
    """Counts calls, and knows whether the server has given up the transaction they are in."""

    __slots__ = ("aborted", "metrics")

    def __init__(self, metrics: DatabaseMetrics) -> None:
        self.metrics = metrics
        self.aborted = False
        """Whether the last statement failed on the server: inside a transaction, COMMIT would then roll back."""

    async def run(
        self,
        series: StatementSeries | None,
        call: Callable[..., Awaitable[ResultT]],
        /,
        *arguments: Any,
        **options: Any,
    ) -> ResultT:
        """What the call returns or raises, counted."""
        started = monotonic_seconds()
        try:
            result = await call(*arguments, **options)
        except BaseException as error:
            self.failed(series, monotonic_seconds() - started, error)
            raise
        self.aborted = False
        self.metrics.record(series, monotonic_seconds() - started)
        return result

    def failed(self, series: StatementSeries | None, seconds: float, error: BaseException) -> None:
        """Count a call that raised."""
        # Only what the server reports has a severity; errors of the driver's own leave a transaction as it is.
        if getattr(error, "severity", None) or isinstance(error, TimeoutError | asyncio.CancelledError):
            self.aborted = True
        self.metrics.record(series, seconds)
        self.metrics.record_error(series, error)
