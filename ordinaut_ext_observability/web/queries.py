"""Queries over the history, evaluated on an event loop beside everything else: a few at a time, each within a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from typing import Protocol

from starlette.requests import Request

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.history.series import SampleSource
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.promql.errors import QueryError, QueryTimeoutError

MAX_RUNNING = 4
"""Queries that take turns: a long one lets a short one pass, and neighbours wait for four slices at most."""
MAX_WAITING = 20
"""Queries that wait for those: about as many as a dashboard asks at once."""
MAX_SECONDS = 30.0
"""Longest time of a query, its waiting included."""


class KeptSamples(SampleSource, Protocol):
    """A source that knows how far back it goes."""

    @property
    def kept_since_ms(self) -> int | None:
        """The time of its first sample, in milliseconds since 1970; None: it has none yet."""


class QueryCanceledError(QueryError):
    """The client went away."""

    error_type = "canceled"


class UnavailableError(QueryError):
    """The query cannot be answered now, or by this process."""

    error_type = "unavailable"


class QueryService:
    """Evaluates queries on one event loop. Make one per loop."""

    def __init__(
        self,
        metrics: Metrics,
        shown: Callable[[], Awaitable[Registry]],
        source: Callable[[], KeptSamples | None],
        clock: Clock,
    ) -> None:
        """`shown` gives the registry whose metrics are described, `source` the samples, or None where none are kept."""
        self.metrics = metrics
        self.shown = shown
        self.clock = clock
        self._source = source
        self._asked = 0
        self._places = asyncio.Semaphore(MAX_RUNNING)

    def source(self) -> KeptSamples:
        """The samples. Raises UnavailableError where this process keeps none."""
        source = self._source()
        if source is None:
            raise UnavailableError(
                "this process keeps no history: it serves no application, or ORDINAUT_OBS_HISTORY is false"
            )
        return source

    async def run(
        self, request: Request, work: Generator[None, None, list[bytes]], seconds: float = MAX_SECONDS
    ) -> list[bytes]:
        """Do this work, in slices, and give what it returns.

        Raises what it raises, QueryTimeoutError after these `seconds`, QueryCanceledError once the client of the
        request is gone, UnavailableError where too many others wait.
        """
        working = asyncio.create_task(self._work(work))
        leaving = asyncio.create_task(_wait_until_gone(request))
        try:
            await asyncio.wait((working, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if leaving.done():
                raise QueryCanceledError
            raise QueryTimeoutError(f"query timed out: it was not done after {seconds:g} s")
        finally:
            working.cancel()
            leaving.cancel()

    async def _work(self, work: Generator[None, None, list[bytes]]) -> list[bytes]:
        pieces: list[bytes] = []

        def steps() -> Generator[None, None, None]:
            pieces.extend((yield from work))

        async with self._place():
            slicer = Slicer()
            try:
                async for _ in slicer.slices(steps()):
                    pass
            except QueryError as error:
                # The frames of a traceback hold all that was read, until a collection of garbage finds them.
                raise error.with_traceback(None) from None
            finally:
                work.close()  # what it reads is let go at once
                self.metrics.overhead_seconds.labels("query").inc(slicer.cpu_seconds)
        return pieces

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._asked >= MAX_RUNNING + MAX_WAITING:
            raise UnavailableError("too many queries are being answered: try again")
        if not self._asked:
            self._places = asyncio.Semaphore(MAX_RUNNING)  # anew: a semaphore is for the loop of its first use
        self._asked += 1
        try:
            async with self._places:
                yield
        finally:
            self._asked -= 1


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
