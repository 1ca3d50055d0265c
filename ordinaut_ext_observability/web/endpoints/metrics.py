"""`/metrics`: rendered in pieces that let other requests through, once for all who ask at the same time."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import chain
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.alerts.report import ALERT_SERIES, AlertSeries
from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.background.daemon_threads import DaemonExecutor, in_daemon_thread
from ordinaut_ext_observability.background.slicer import Slicer, pause
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.exposition import OPENMETRICS_END, render_gauges
from ordinaut_ext_observability.metrics.foreign import ForeignMetrics
from ordinaut_ext_observability.metrics.negotiation import Format, accepts_gzip, choose_format
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.web.answers import NO_STORE, PiecewiseResponse, Refusal, error_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

MAX_FILTER_NAMES = 100
MAX_RENDERINGS = 8  # of scrapes with different filters or formats, at the same time
MAX_WAITING = 100  # scrapes that wait for a rendering: those of clients that went away wait on, so many may come up
FOREIGN_TIMEOUT_SECONDS = 5.0  # longest wait for metrics of other code; a collector that takes longer is left out
_FURTHER_TIMEOUT_SECONDS = 2.0  # then for the others: an answer comes within Prometheus's usual ten seconds
_OWN_THREADS = DaemonExecutor()  # the host's pool is not starved, and no collector that hangs keeps it from ending
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 1  # text this repetitive shrinks to a twentieth at any level; the lowest is the fastest


class ScrapeRequest(NamedTuple):
    """A question of a scraper; equal requests share one rendering."""

    format: Format
    gzip: bool
    names: frozenset[str] | None
    """Family and sample names to render, or None for all."""


class ScrapeService:
    """Renders scrapes on one event loop. Make one per loop."""

    def __init__(
        self,
        metrics: Metrics,
        foreign: ForeignMetrics,
        shown: Callable[[], Awaitable[Registry]],
        alert_series: Callable[[], AlertSeries] = dict,
    ) -> None:
        """`shown` gives the registry to render; what scrapes cost is counted in `metrics`."""
        self._metrics = metrics
        self._shown = shown
        self._alert_series = alert_series
        self.foreign = foreign
        self._renderings: dict[ScrapeRequest, asyncio.Task[list[bytes]]] = {}  # the newest of each request
        self._joinable: dict[ScrapeRequest, asyncio.Task[list[bytes]]] = {}  # those that have not read anything yet
        self._waiting = 0

    async def scrape(self, request: ScrapeRequest) -> list[bytes]:
        """The body of the response, in one piece at least.

        Raises `Refusal` where `MAX_RENDERINGS` others are under way, or `MAX_WAITING` wait for them.
        """
        if self._waiting >= MAX_WAITING:
            raise _too_many()
        # Not one that began from an older reading: this scraper may have seen a newer one in another process.
        rendering = self._joinable.get(request) or self._begin(request)
        self._waiting += 1
        try:
            # A scraper that gives up must not take the rendering from the others.
            return await asyncio.shield(rendering)
        finally:
            self._waiting -= 1

    def _begin(self, request: ScrapeRequest) -> asyncio.Task[list[bytes]]:
        """Start a rendering; while another of the same request is under way, it begins after that."""
        before = self._renderings.get(request)
        if before is None and len(self._renderings) >= MAX_RENDERINGS:
            raise _too_many()
        rendering = asyncio.create_task(self._render(request, before))
        self._renderings[request] = self._joinable[request] = rendering

        def ended(_: object) -> None:
            for renderings in (self._renderings, self._joinable):
                if renderings.get(request) is rendering:
                    del renderings[request]

        rendering.add_done_callback(ended)
        return rendering

    async def _render(self, request: ScrapeRequest, before: asyncio.Task[list[bytes]] | None) -> list[bytes]:
        if before is not None:
            await asyncio.wait([before])
        del self._joinable[request]
        metrics = self._metrics
        registry = await self._shown()
        started = monotonic_seconds()
        metrics.scrape_series.labels().set(registry.series_count())
        registry.refresh()
        await pause()
        size = 0
        body: list[bytes] = []
        compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW) if request.gzip else None
        async for text in self._texts(registry, request):
            piece = text.encode()
            size += len(piece)
            if compressor is not None:
                piece = await in_daemon_thread(compressor.compress, piece)
            body.append(piece)
        format_label = request.format.name
        metrics.scrape_seconds.labels(format_label).observe(monotonic_seconds() - started)
        metrics.scrape_bytes.labels(format_label).set(size)
        return body if compressor is None else [b"".join((*body, compressor.flush()))]

    async def _texts(self, registry: Registry, request: ScrapeRequest) -> AsyncIterator[str]:
        """The text, a slice of rendering at a time; with the last one comes what other code registered."""
        openmetrics, escaping = request.format
        slicer = Slicer()
        own = registry.pieces(openmetrics=openmetrics, only=request.names, escaping=escaping)
        async for pieces in slicer.slices(chain(own, self._alert_pieces(request))):
            yield "".join(pieces)
        self._metrics.overhead_seconds.labels("scrape").inc(slicer.cpu_seconds)
        yield "".join([*await self._foreign_pieces(request), OPENMETRICS_END if openmetrics else ""])

    def _alert_pieces(self, request: ScrapeRequest) -> Iterator[str]:
        for name, series in self._alert_series().items():
            if request.names is None or name in request.names:
                yield from render_gauges(name, ALERT_SERIES[name], series, request.format.escaping)

    async def _foreign_pieces(self, request: ScrapeRequest) -> list[str]:
        """The pieces of what other code registered, as far as its collectors neither hang nor fail."""
        loop = asyncio.get_running_loop()
        for patience in (FOREIGN_TIMEOUT_SECONDS, _FURTHER_TIMEOUT_SECONDS):
            pieces: list[str] = []
            threads: list[threading.Thread] = []
            rendering = loop.run_in_executor(_OWN_THREADS, self._render_foreign, request, pieces, threads)
            try:
                await asyncio.wait_for(rendering, patience)
                break
            except TimeoutError:
                for thread in threads:
                    self.foreign.give_up(thread)
                self._metrics.count_internal_error("foreign_metrics")
        return pieces.copy()

    def _render_foreign(self, request: ScrapeRequest, pieces: list[str], threads: list[threading.Thread]) -> None:
        threads.append(threading.current_thread())
        openmetrics, escaping = request.format
        try:
            for piece in self.foreign.render(openmetrics=openmetrics, only=request.names, escaping=escaping):
                pieces.append(piece)  # noqa: PERF402 - one by one: those so far are shown when the next hangs
        except Exception:  # noqa: BLE001 - foreign code may raise anything
            self._metrics.count_internal_error("foreign_metrics")


async def _metrics(request: Request) -> Response:
    names = request.query_params.getlist("name[]")
    if len(names) > MAX_FILTER_NAMES:
        return error_response(400, "too_many_names", f"At most {MAX_FILTER_NAMES} name[] are accepted.")
    gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
    scrape_format = choose_format(request.headers.get("accept", ""))
    body = await context_of(request).scrapes.scrape(ScrapeRequest(scrape_format, gzip, frozenset(names) or None))
    headers = {"Vary": "Accept, Accept-Encoding", **NO_STORE, "Content-Type": scrape_format.content_type}
    if gzip:
        headers["Content-Encoding"] = "gzip"
    return PiecewiseResponse(body, headers)


def _too_many() -> Refusal:
    return Refusal(503, "too_many_scrapes", "Too many scrapes are being rendered.", {"Retry-After": "1"})


_ANSWERS = {200: "The metrics, in the format that the Accept header prefers.", 400: None, 503: None}
_TYPES = ("text/plain", "application/openmetrics-text")

METRICS = Endpoint("/metrics", "scrape", _metrics, "the metrics of all processes that are merged", _ANSWERS, _TYPES)
