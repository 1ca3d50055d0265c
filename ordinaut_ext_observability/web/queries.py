"""Queries over the history, evaluated on an event loop beside everything else: a few at a time, each within a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from starlette.requests import Request

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.promql.errors import QueryError, QueryTimeoutError

MAX_RUNNING = 4
"""Queries that take turns: a long one lets a short one pass, and neighbours wait for four slices at most."""
MAX_WAITING = 20
"""Queries that wait for those: about as many as a dashboard asks at once."""
MAX_SECONDS = 30.0
"""Longest time of a query, its waiting included."""


class QueryCanceledError(QueryError):
    """The client went away."""

    error_type = "canceled"


class UnavailableError(QueryError):
    """The query cannot be answered now, or by this process."""

    error_type = "unavailable"


class QueryService:
    """Evaluates queries on one event loop. Make one per loop."""

    def __init__(
        self, metrics: Metrics, registries: Iterable[Registry], source: Callable[[], History | None], clock: Clock
    ) -> None:
        """`registries` have the metrics that are described, `source` gives the samples, None where none are kept."""
        self.metrics = metrics
        self.registries = registries
        self.clock = clock
        self._source = source
        self._asked = 0
        self._places = asyncio.Semaphore(MAX_RUNNING)

    def source(self) -> History:
        """The samples. Raises UnavailableError where this process keeps none."""
        source = self._source()
        if source is None:
            why = "it serves no application, or ORDINAUT_OBS_HISTORY is false"
            raise UnavailableError(f"this process keeps no history: {why}")
        return source

    async def run(self, request: Request, begin: Callable[[], Iterator[bytes | None]], seconds: float) -> list[bytes]:
        """Begin work in a thread, do it in slices, and give the pieces that it yields.

        In a thread, since to compile the patterns of one query may take a second.

        Raises what the work raises, QueryTimeoutError after these `seconds`, QueryCanceledError once the client of the
        request is gone, UnavailableError where too many others wait.
        """
        if self._asked >= MAX_RUNNING + MAX_WAITING:
            raise UnavailableError("too many queries are being answered: try again")
        if not self._asked:
            self._places = asyncio.Semaphore(MAX_RUNNING)  # anew: a semaphore is for the loop of its first use
        self._asked += 1
        leaving = asyncio.create_task(wait_until_gone(request))
        slicer, pieces = Slicer(), list[bytes]()
        try:
            async with asyncio.timeout(seconds), self._places:
                async for results in slicer.slices(await in_daemon_thread(begin)):
                    pieces += filter(None, results)
                    if leaving.done():
                        raise QueryCanceledError
        except TimeoutError:
            raise QueryTimeoutError(f"query timed out: it was not done after {seconds:g} s") from None
        finally:
            leaving.cancel()
            self._asked -= 1
            self.metrics.overhead_seconds.labels("query").inc(slicer.cpu_seconds)
        return pieces


async def wait_until_gone(request: Request) -> None:
    """Return once the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
