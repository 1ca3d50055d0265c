"""Queries over the history, evaluated on an event loop beside everything else: a few at a time, each within a time.

Their parameters are those of Prometheus's API, from the URL and from the form in the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.promql.errors import BadQueryError, QueryError, QueryTimeoutError
from ordinaut_ext_observability.promql.times import parse_duration, parse_time

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.nodes import VectorSelector

MAX_RUNNING = 4
"""Queries that take turns: a long one lets a short one pass, and neighbours wait for four slices at most."""
MAX_WAITING = 20
"""Queries that wait for those: about as many as a dashboard asks at once."""
MAX_SECONDS = 30.0
"""Longest time of a query, its waiting included."""
MAX_BYTES = 64 * 1024
"""Longest form and URL: an expression of the longest kind, every character escaped, and room for the rest."""

ParsedT = TypeVar("ParsedT")

_MAX_FIELDS = 200
_FORM = "application/x-www-form-urlencoded"


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
                async for results in slicer.slices(await in_daemon_thread(_begin, begin)):
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


def _begin(begin: Callable[[], Iterator[bytes | None]]) -> Iterator[bytes | None]:
    _import_language()
    return begin()


@cache  # so that later queries wait for nobody's import
def _import_language() -> None:
    """Import what parses and evaluates queries: in a thread of ours, not while the host starts."""
    with forks_held_off():
        import ordinaut_ext_observability.promql.evaluate
        import ordinaut_ext_observability.promql.parse  # noqa: F401 - for those who import it where they need it


async def wait_until_gone(request: Request) -> None:
    """Return once the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Parameters(dict[str, list[str]]):
    """Values by name; of one given several times, the first counts."""

    def text(self, name: str) -> str:
        """The value, empty where there is none."""
        return self.get(name, [""])[0]

    def time_ms(self, name: str, default: int | None = None) -> int:
        """A time in milliseconds since 1970. Raises BadQueryError where it is none."""
        return self._read(name, default, parse_time, "a valid timestamp")

    def duration_ms(self, name: str, default: int | None = None) -> int:
        """A duration in milliseconds. Raises BadQueryError where it is none, or not more than zero."""
        duration = self._read(name, default, parse_duration, "a valid duration")
        if duration <= 0:
            raise invalid(name, "zero or negative durations are not accepted")
        return duration

    def limit(self) -> int:
        """The number of results, 0 where they are not limited. Raises BadQueryError where it is none."""
        return self._read("limit", 0, _parse_count, "a number of zero or more")

    def selectors(self) -> list[VectorSelector]:
        """The selectors given as `match[]`. Raises BadQueryError where one is none."""
        from ordinaut_ext_observability.promql.nodes import VectorSelector
        from ordinaut_ext_observability.promql.parse import parse

        selectors = []
        for text in self.get("match[]", []):
            selector = parsed("match[]", text, parse)
            if not isinstance(selector, VectorSelector):
                raise invalid("match[]", 'is not a selector such as up{job="api"}')
            selectors.append(selector)
        return selectors

    def _read(self, name: str, default: int | None, parse: Callable[[str], int], kind: str) -> int:
        text = self.text(name)
        if not text and default is not None:
            return default
        try:
            return parse(text)
        except ValueError:
            raise invalid(name, f'cannot parse "{text[:100]}" to {kind}') from None


def _parse_count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError
    return int(text)


def parsed(parameter: str, text: str, parse: Callable[[str], ParsedT]) -> ParsedT:
    """The query in a parameter. Raises BadQueryError, which names the parameter, where it cannot be understood."""
    try:
        return parse(text)
    except BadQueryError as error:
        raise invalid(parameter, str(error)) from None


def invalid(parameter: str, problem: str) -> BadQueryError:
    """An error that names the parameter, in Prometheus's words."""
    return BadQueryError(f'invalid parameter "{parameter}": {problem}')


async def read_parameters(request: Request) -> Parameters:
    """The parameters of a request: of its path, its form, its URL. Raises BadQueryError where they are too long."""
    query, body = request.scope.get("query_string", b""), b""
    too_long = len(query) > MAX_BYTES
    try:
        async for chunk in request.stream():  # to its end: a client that is sending does not listen to an answer
            too_long |= len(body) + len(chunk) > MAX_BYTES
            body = b"" if too_long else body + chunk
    except ClientDisconnect:
        raise QueryCanceledError from None
    if too_long:
        raise BadQueryError(f"the form or the URL is longer than {MAX_BYTES // 1024} kB: ask for less at a time")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
        query = body + b"&" + query
    try:
        fields = parse_qs(query.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise BadQueryError(f"there are more than {_MAX_FIELDS} parameters") from None
    return Parameters(fields | {name: [value] for name, value in request.path_params.items()})
