"""Serving a scrape: rendered in pieces that let other requests through, once for all who ask at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.background.daemon_threads import DaemonExecutor
from ordinaut_ext_observability.background.slicer import Slicer, pause
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.exposition import OPENMETRICS_END
from ordinaut_ext_observability.metrics.foreign import ForeignMetrics
from ordinaut_ext_observability.metrics.negotiation import Format
from ordinaut_ext_observability.metrics.registry import Registry

MAX_RENDERINGS = 8  # of scrapes with different filters or formats, at the same time
MAX_WAITING = 100  # scrapes that wait for a rendering: those of clients that went away wait on, so many may come up
FOREIGN_TIMEOUT_SECONDS = 5.0  # longest wait for metrics of other code; a collector that takes longer is left out
_FURTHER_TIMEOUT_SECONDS = 2.0  # then for the others: an answer comes within Prometheus's usual ten seconds
_COMPRESSING = DaemonExecutor()  # in threads of ours the loop goes on, and the host's pool is not starved
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 1  # text this repetitive shrinks to a twentieth at any level; the lowest is the fastest


class TooManyScrapesError(ObservabilityError):
    """Too many scrapes are being rendered; try again in a second."""


@dataclass(frozen=True, slots=True)
class ScrapeRequest:
    """What a scraper asks for; equal requests share one rendering."""

    format: Format
    gzip: bool
    names: frozenset[str] | None
    """Family and sample names to render, or None for all."""


class PiecewiseResponse(Response):
    """A body sent in pieces, between which the loop does what else is due: ten megabytes at once would hold it."""

    def __init__(self, pieces: list[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(headers={**headers, "Content-Length": str(sum(map(len, pieces)))})
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as inherited
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = len(self._pieces) - 1
        for number, piece in enumerate(self._pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": number < last})
            if number < last:
                await pause()


class ScrapeService:
    """Renders scrapes on one event loop. Make one per loop."""

    def __init__(
        self,
        metrics: Metrics,
        foreign: ForeignMetrics,
        shown: Callable[[], Awaitable[Registry]],
    ) -> None:
        """`shown` gives the registry to render; what scrapes cost is counted in `metrics`."""
        self._metrics = metrics
        self._shown = shown
        self._foreign = foreign
        self._renderings: dict[ScrapeRequest, asyncio.Task[list[bytes]]] = {}  # the newest of each request
        self._joinable: dict[ScrapeRequest, asyncio.Task[list[bytes]]] = {}  # those that have not read anything yet
        self._waiting = 0

    async def scrape(self, request: ScrapeRequest) -> list[bytes]:
        """The body of the response, in one piece at least.

        Raises:
            TooManyScrapesError: `MAX_RENDERINGS` others are under way, or `MAX_WAITING` wait for them.
        """
        if self._waiting >= MAX_WAITING:
            raise TooManyScrapesError
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
            raise TooManyScrapesError
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
        size = 0
        body: list[bytes] = []
        compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW) if request.gzip else None
        async for text in self._texts(registry, request):
            piece = text.encode()
            size += len(piece)
            if compressor is not None:
                piece = await asyncio.get_running_loop().run_in_executor(_COMPRESSING, compressor.compress, piece)
            body.append(piece)
        if compressor is not None:
            body.append(compressor.flush())
        format_label = request.format.name
        metrics.scrape_seconds.labels(format_label).observe(monotonic_seconds() - started)
        metrics.scrape_bytes.labels(format_label).set(size)
        return [b"".join(body)] if request.gzip else body

    async def _texts(self, registry: Registry, request: ScrapeRequest) -> AsyncIterator[str]:
        """The text, a slice of rendering at a time; with the last one comes what other code registered."""
        openmetrics, escaping = request.format
        slicer = Slicer()
        async for pieces in slicer.slices(
            registry.pieces(openmetrics=openmetrics, only=request.names, escaping=escaping)
        ):
            yield "".join(pieces)
        self._metrics.overhead_seconds.labels("scrape").inc(slicer.cpu_seconds)
        foreign = await self._foreign_pieces(request)
        yield "".join([*foreign, OPENMETRICS_END if openmetrics else ""])

    async def _foreign_pieces(self, request: ScrapeRequest) -> list[str]:
        """The pieces of what other code registered, as far as its collectors neither hang nor fail."""
        loop = asyncio.get_running_loop()
        pieces: list[str] = []
        for patience in (FOREIGN_TIMEOUT_SECONDS, _FURTHER_TIMEOUT_SECONDS):
            pieces, rendered = [], asyncio.Event()
            tell = partial(loop.call_soon_threadsafe, rendered.set)
            # A daemon, unlike an executor's thread: a collector that never returns must not keep the host from ending.
            thread = threading.Thread(
                target=self._render_foreign,
                args=(request, pieces, tell),
                name="observability-foreign-metrics",
                daemon=True,
            )
            thread.start()
            try:
                await asyncio.wait_for(rendered.wait(), patience)
                break
            except TimeoutError:
                self._foreign.give_up(thread)
                self._metrics.count_internal_error("foreign_metrics")
        return pieces.copy()

    def _render_foreign(self, request: ScrapeRequest, pieces: list[str], tell: Callable[[], object]) -> None:
        try:
            openmetrics, escaping = request.format
            for piece in self._foreign.render(openmetrics=openmetrics, only=request.names, escaping=escaping):
                pieces.append(piece)  # noqa: PERF402 - one by one: those so far are shown when the next hangs
        except Exception:  # noqa: BLE001 - foreign code may raise anything
            self._metrics.count_internal_error("foreign_metrics")
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            tell()
