"""Ended spans on their way to a collector. A collector that is down costs spans, never time of the host."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Link, Status

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask, leave_untraced
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.scrub.sql import normalised

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

_MAX_WAITING, _BATCH = 2048, 512
"""Spans that wait, further ones being dropped; and those sent at a time. OpenTelemetry's defaults, a few MB."""

_INTERVAL_SECONDS = 2.0
"""Time between two sendings: a person who looks for the trace of a request just made waits for it."""

_STATEMENTS = ("db.statement", "db.query.text")


class SpanSender:
    """Sends spans over OTLP from a daemon thread, scrubbed; in a forked child from one of its own."""

    def __init__(self, metrics: Metrics, scrubber: Scrubber | None, event: events.LogEvent) -> None:
        self._metrics = metrics
        self._scrubber = scrubber
        self._event = event
        self._failing = False
        self._thread = BackgroundThread("spans", self._make_tasks, lambda *_: metrics.count_internal_error("tracing"))
        self.start = self._thread.start
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin without spans: those of the parent are the parent's."""
        self._waiting: deque[ReadableSpan] = deque()
        self._in_flight = 0
        self._exporter: OTLPSpanExporter | None = None

    def add(self, span: ReadableSpan) -> None:
        """Have an ended span sent, or dropped where too many wait. Safe from any thread; never waits."""
        if len(self._waiting) >= _MAX_WAITING:
            self._count("dropped", 1)
            return
        self._waiting.append(span)
        if len(self._waiting) == _BATCH:
            self._thread.call_soon(self._send)
        elif not self._thread.started:
            with contextlib.suppress(RuntimeError):  # no more threads: the interpreter ends
                self.start()

    def stop(self, ends_at: float) -> None:
        """End until then; spans that are not sent by then are dropped. Safe without `start`, and twice."""
        self._thread.stop(ends_at)
        exporter, lost = self._exporter, self._in_flight + len(self._waiting)
        self.reset_after_fork()
        self._count("dropped", lost)
        if exporter is not None:
            exporter.shutdown()  # type: ignore[no-untyped-call]  # it ends its pause before another try

    def _make_tasks(self) -> list[PeriodicTask]:
        from opentelemetry.exporter.otlp.proto.http import trace_exporter  # half a second

        logging.getLogger(trace_exporter.__name__).setLevel(logging.CRITICAL)  # we say it, once
        self._exporter = trace_exporter.OTLPSpanExporter()
        return [PeriodicTask("spans", self._round, _INTERVAL_SECONDS, finish=self._round)]

    async def _round(self) -> None:
        self._send()

    def _send(self) -> None:
        leave_untraced()
        exporter, waiting = self._exporter, self._waiting
        while exporter is not None and waiting and exporter is self._exporter:
            batch = [waiting.popleft() for _ in range(min(_BATCH, len(waiting)))]
            self._in_flight = len(batch)
            failed = exporter.export([self._scrubbed(span) for span in batch]) is not SpanExportResult.SUCCESS
            if exporter is self._exporter:
                self._in_flight = 0
                self._count("dropped" if failed else "exported", len(batch))
                if failed > self._failing:
                    self._event(events.SPANS_NOT_SENT, spans=len(batch))
                self._failing = failed

    def _count(self, outcome: str, number: int) -> None:
        self._metrics.spans.labels(outcome).inc(number)

    def _scrubbed(self, span: ReadableSpan) -> ReadableSpan:
        """A copy without secrets in its texts; statements have no literals."""
        if (scrubber := self._scrubber) is None:
            return span

        def clean(attributes: Any) -> Any:
            given = dict(attributes or {})
            statements = {name: normalised(str(given[name])) for name in _STATEMENTS if name in given}
            return scrubber.value(given | statements)

        status, copied = span.status, copy(span)
        vars(copied).update(
            _name=scrubber.text(span.name),
            _attributes=clean(span.attributes),
            _events=[Event(event.name, clean(event.attributes), event.timestamp) for event in span.events],
            _links=[Link(link.context, clean(link.attributes)) for link in span.links],
            _status=Status(status.status_code, scrubber.text(status.description)) if status.description else status,
        )
        return copied
