"""The meaning of finished requests: their endpoint, their series, their access line.

Requests are recorded some at a time, which costs a third of recording each at its end: the code and the data stay in
the processor's caches. At most `BATCH_REQUESTS` wait, for at most as long as the log writer gathers lines (without an
access log, until the next scrape); a scrape records them first.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from ordinaut_ext_observability.background.clock import monotonic_seconds, thread_cpu_seconds, wall_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.family import Exemplar
from ordinaut_ext_observability.scrub.plain_values import json_text
from ordinaut_ext_observability.settings.parts import HttpSettings
from ordinaut_ext_observability.trouble.recent import RecentTrouble
from ordinaut_ext_observability.web.request_ids import RequestIdReader
from ordinaut_ext_observability.web.route_templates import UNMATCHED, EndpointResolver, plugin_of

if TYPE_CHECKING:
    from ordinaut_ext_observability.tracing.requests import RequestTracer
    from ordinaut_ext_observability.web.exchange import HttpExchange

_MAX_REMEMBERED = 4096
_IN_FLIGHT = ("method", "route", "correlation_id", "seconds")


class RequestSeries:
    """The series of a method, endpoint and status code.

    Only the recorder writes them, and one thread at a time: so it does without their locks.
    """

    def __init__(self, metrics: Metrics, method: str, endpoint: str, status_code: str) -> None:
        self._bounds = metrics.http_request_seconds.bounds
        self._requests = metrics.http_requests.labels(method, endpoint, status_code)
        self._seconds = metrics.http_request_seconds.labels(method, endpoint)
        self._request_bytes = metrics.http_request_bytes.labels(method, endpoint)
        self._response_bytes = metrics.http_response_bytes.labels(method, endpoint)
        plugin = plugin_of(endpoint)
        self._plugin_requests = metrics.plugin_requests.labels(plugin, status_code) if plugin else None
        self._plugin_seconds = metrics.plugin_request_seconds.labels(plugin) if plugin else None

    def add(self, exchange: HttpExchange, ended_at: float) -> None:
        """Count one request and its time."""
        self._requests.value += 1
        self._response_bytes.value += exchange.response_bytes
        self._request_bytes.value += exchange.request_bytes
        if self._plugin_requests is not None:
            self._plugin_requests.value += 1
        seconds = exchange.seconds
        child = self._seconds
        if exchange.rare.stream_endpoint is None:
            child.counts[bisect_left(self._bounds, seconds)] += 1
            child.sum += seconds
            if self._plugin_seconds is not None:
                self._plugin_seconds.observe(seconds)
        if exchange.ids[3]:  # its trace is recorded somewhere
            child.exemplify(Exemplar(exchange.ids[1], seconds, round(ended_at, 3)))


class _Record(NamedTuple):
    """The record of the requests of a method, endpoint and status code."""

    endpoint: str
    series: RequestSeries | None
    quiet: bool
    access_layout: str


@dataclass(eq=False)
class RequestRecorder:
    """Records finished requests. Safe from any thread: one records at a time."""

    metrics: Metrics
    access_log: AccessLog
    id_reader: RequestIdReader
    endpoints: EndpointResolver
    trouble: RecentTrouble
    settings: HttpSettings
    quiet_endpoints: tuple[str, ...]  # shell patterns such as `/health/*`
    is_own: Callable[[str], bool]  # tells our endpoints from the host's
    tracer: RequestTracer | None = field(default=None, init=False)  # None while tracing is off
    in_progress: set[HttpExchange] = field(default_factory=set, init=False)
    waiting: deque[HttpExchange] = field(default_factory=deque, init=False)
    # By the endpoint, and by the identity of the route that the router left in the scope.
    _records: dict[tuple[int | str, str, int], tuple[_Record, object]] = field(default_factory=dict, init=False)
    _recording: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.metrics.registry.refresh_with(_while_alive(self.refresh))
        self.access_log.writer.before_writing.append(_while_alive(self.record_waiting))
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin with nothing: the parent's requests, streams and WebSockets are the parent's to record."""
        self._recording = threading.Lock()
        self.waiting.clear()
        self.in_progress.clear()
        for child in (*self.metrics.streams_open.children(), *self.metrics.websockets_open.children()):
            child.set(0)  # without the lock, which another thread of the parent may have held

    def record_waiting(self) -> None:
        """Record what waits, unless another thread is at it."""
        if self._recording.acquire(blocking=False):
            try:
                self._record_waiting()
            finally:
                self._recording.release()

    def refresh(self) -> None:
        """Bring the metrics up to date for a scrape."""
        self.record_waiting()
        if not self.settings.enabled:
            return
        # Server-sent events last as long as their clients like, and a scrape is always in progress: neither counts.
        gauge = self.metrics.http_in_progress
        counted = Counter(
            exchange.known_method()
            for exchange in list(self.in_progress)
            if exchange.rare.stream_endpoint is None and not self.is_own(exchange.endpoint())
        )
        for method in {"GET", *counted, *(child.label_values[0] for child in gauge.children())}:
            gauge.labels(method).set(counted[method])

    def requests_in_flight(self) -> list[dict[str, Any]]:
        """The 20 oldest requests without a complete response. Safe from any thread."""
        now, oldest = monotonic_seconds(), sorted(set(self.in_progress), key=lambda exchange: exchange.started)[:20]
        facts = ((each.known_method(), each.endpoint(), each.ids[0], round(now - each.started, 3)) for each in oldest)
        return [dict(zip(_IN_FLIGHT, each, strict=True)) for each in facts]

    def _record_waiting(self) -> None:
        waiting = self.waiting
        started = thread_cpu_seconds()
        # Durations are of one clock, instants of another; the difference is read once per batch.
        wall_offset = wall_seconds() - monotonic_seconds()
        while waiting:
            exchange = waiting.popleft()
            try:
                self._record(exchange, wall_offset)
            except Exception:  # noqa: BLE001 - telemetry never breaks the host
                self.metrics.count_internal_error("recorder")
        self.metrics.overhead_seconds.labels("recorder").inc(thread_cpu_seconds() - started)

    def _record(self, exchange: HttpExchange, wall_offset: float) -> None:
        status = exchange.outcome()
        record = self._find_record(exchange, status)
        seconds = exchange.seconds
        ended_at = wall_offset + exchange.started + seconds
        if record.series is not None:
            record.series.add(exchange, ended_at)
        if self.access_log.enabled:
            level = self.access_log.level(status, seconds, quiet=record.quiet)
            if level is not None:
                details = self._details(exchange, record.endpoint)
                self.access_log.emit(level, record.access_layout, ended_at, seconds, exchange.ids, details)
        stream = exchange.rare.stream_endpoint
        if (status >= 500 or seconds >= self.trouble.slow_seconds) and record.series is not None and stream is None:
            facts = {"time": timestamp(ended_at), "method": exchange.known_method(), "status_code": status}
            facts |= {"duration_seconds": round(seconds, 6), "exception_type": exchange.rare.exception_type or None}
            self.trouble.add_request(
                record.endpoint, {**facts, "correlation_id": exchange.ids[0], "trace_id": exchange.ids[1]}
            )
        if stream is not None:
            self.metrics.streams_open.labels(stream).dec()
            self.metrics.stream_seconds.labels(stream).observe(seconds)
            self.metrics.stream_messages.labels(stream).inc(exchange.rare.stream_messages)

    def _find_record(self, exchange: HttpExchange, status: int) -> _Record:
        """The record of the request's method, endpoint and status: for most requests, that of its route object."""
        scope = exchange.scope
        route = scope.get("route")
        if "fastapi" in scope and "effective_route_context" in scope["fastapi"]:
            route = scope["fastapi"]["effective_route_context"]
        by_route = (id(route), scope["method"], status)
        known = route is not None and "app_root_path" not in scope  # and no mount was entered
        found = self._records.get(by_route) if known else None
        if found is None:
            method, endpoint = exchange.known_method(), exchange.endpoint()
            if len(self._records) >= _MAX_REMEMBERED:
                self._records.clear()
            found = self._records.get((endpoint, method, status)) or (self._make_record(method, endpoint, status), None)
            self._records[endpoint, method, status] = found
            if known:  # the route is kept, so that no other object gets its id
                self._records[by_route] = (found[0], route)
        return found[0]

    def _details(self, exchange: HttpExchange, endpoint: str) -> str:
        """The fields after the duration."""
        details = f',"request_bytes":{exchange.request_bytes}' if exchange.request_bytes else ""
        details = f'{details},"response_bytes":{exchange.response_bytes}'
        if endpoint is UNMATCHED:
            details = f'{details},"url_path":{json_text(exchange.scope["path"][:200])}'
        if not self.id_reader.trusted.is_everywhere:
            parent_id = self.id_reader.parent_id(exchange.scope)
            if parent_id is not None:
                details = f'{details},"parent_request_id":"{parent_id}"'
        if exchange.rare.exception_type:
            details = f'{details},"exception_type":{json_text(exchange.rare.exception_type)}'
        return details

    def _make_record(self, method: str, endpoint: str, status_code: int) -> _Record:
        settings = self.settings
        excluded = not settings.include_own_endpoints and self.is_own(endpoint)
        excluded = excluded or any(fnmatchcase(endpoint, pattern) for pattern in settings.exclude_endpoints)
        measured = settings.enabled and not excluded
        series = RequestSeries(self.metrics, method, endpoint, str(status_code)) if measured else None
        quiet = excluded or any(fnmatchcase(endpoint, pattern) for pattern in self.quiet_endpoints)
        return _Record(endpoint, series, quiet, self.access_log.layout(method, endpoint, status_code))


def _while_alive(method: Callable[[], None]) -> Callable[[], None]:
    """The method, as a function that does not keep its object: threads hold it, and the object leads to the host."""
    held = weakref.WeakMethod(method)
    return lambda: (alive := held()) and alive()
