"""Ended spans on their way to a collector. A collector that is down costs spans, never time of the host."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Link, Status

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.scrub.sql import normalised

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

MAX_WAITING = 2048
"""Spans that wait, further ones are dropped; OpenTelemetry's default. They take a few MB."""

_BATCH = 512
"""Spans sent at a time, and the number that are not kept waiting; OpenTelemetry's default."""

_INTERVAL_SECONDS = 2.0
"""Time between two sendings: a person who looks for the trace of a request just made waits for it."""

_MAX_STATEMENT = 2000
_STATEMENTS = ("db.statement", "db.query.text")
_LOGGER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class SpanSender:
    """Sends spans over OTLP from a daemon thread, scrubbed. It works in a forked child, too."""

    def __init__(self, metrics: Metrics, scrubber: Scrubber | None, event: events.LogEvent) -> None:
        self.before_sending: Callable[[], object] = lambda: None
        """Called in the thread first: what waits elsewhere adds its spans."""
        self._metrics = metrics
        self._scrubber = scrubber
        self._event = event
        self._open = self._failing = False
        self._thread = BackgroundThread("spans", self._make_tasks, lambda *_: metrics.count_internal_error("tracing"))
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Leave the parent's spans to the parent."""
        self._waiting: deque[ReadableSpan] = deque()
        self._in_flight = 0
        self._exporter: OTLPSpanExporter | None = None

    def start(self) -> None:
        """Take spans from now on. Starting again does nothing."""
        self._open = True
        self._thread.start()

    def add(self, span: ReadableSpan) -> None:
        """Have an ended span sent, or dropped where too many wait. Safe from any thread; never waits."""
        if not self._open or span.context is None or not span.context.trace_flags.sampled:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._count("dropped", 1)
            return
        self._waiting.append(span)
        if len(self._waiting) == 1:
            with contextlib.suppress(RuntimeError):  # no more threads: the interpreter ends
                self._thread.start()  # a forked child has none yet
        elif len(self._waiting) == _BATCH:
            self._thread.call_soon(self._send)

    def begin_stop(self) -> None:
        """Have the thread send what waits, and end. Safe without `start`."""
        self._thread.begin_stop()

    def stop(self, ends_at: float) -> None:
        """End until then; spans that are not sent by then are dropped. Safe without `start`, and twice."""
        self._thread.stop(ends_at)
        self._open = False
        lost = self._in_flight + len(self._waiting)
        exporter = self._exporter
        self.reset_after_fork()
        self._count("dropped", lost)
        if exporter is not None:
            exporter.shutdown()  # type: ignore[no-untyped-call]  # it ends its pause before another try

    def _make_tasks(self) -> Iterable[PeriodicTask]:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # half a second

        logger = logging.getLogger(_LOGGER)
        logger.removeFilter(_not_in_our_thread)  # ours says once that the collector is down
        logger.addFilter(_not_in_our_thread)
        self._exporter = OTLPSpanExporter()
        return [PeriodicTask("spans", self._round, _INTERVAL_SECONDS, finish=self._round)]

    async def _round(self) -> None:
        self.before_sending()
        self._send()

    def _send(self) -> None:
        exporter, waiting = self._exporter, self._waiting
        while exporter is not None and waiting and exporter is self._exporter:
            batch = [waiting.popleft() for _ in range(min(_BATCH, len(waiting)))]
            self._in_flight = len(batch)
            token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003 - no spans of sending spans
            try:
                sent = exporter.export([self._scrubbed(span) for span in batch]) is SpanExportResult.SUCCESS
            finally:
                detach(token)
            if exporter is self._exporter:
                self._in_flight = 0
                self._count("exported" if sent else "dropped", len(batch))
                if self._failing is sent:
                    self._failing = not sent
                    self._event(events.SPANS_SENT if sent else events.SPANS_NOT_SENT, spans=len(batch))

    def _count(self, outcome: str, number: int) -> None:
        if number:
            self._metrics.spans.labels(outcome).inc(number)

    def _scrubbed(self, span: ReadableSpan) -> ReadableSpan:
        """A copy without secrets in its texts; statements have no literals."""
        if (scrubber := self._scrubber) is None:
            return span

        def clean(attributes: Any) -> Any:
            given = dict(attributes or {})
            for name in _STATEMENTS:
                if name in given:
                    given[name] = normalised(str(given[name]), _MAX_STATEMENT)
            return scrubber.value(given)

        status = span.status
        return ReadableSpan(
            name=scrubber.text(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=clean(span.attributes),
            events=[Event(event.name, clean(event.attributes), event.timestamp) for event in span.events],
            links=[Link(link.context, clean(link.attributes)) for link in span.links],
            kind=span.kind,
            status=Status(status.status_code, scrubber.text(status.description)) if status.description else status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )


def _not_in_our_thread(record: logging.LogRecord) -> bool:
    return record.threadName != "observability-spans"
