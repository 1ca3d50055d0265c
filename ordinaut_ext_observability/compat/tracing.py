"""Spans of pipelines, steps and events: blocks for programs, and those that the host's reports tell of.

While tracing is off they do nothing, and import nothing of OpenTelemetry. Nothing here raises.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

from ordinaut_ext_observability.compat.context import STEP_ID_SEPARATOR, queued_by
from ordinaut_ext_observability.compat.guard import never_raises, runtime
from ordinaut_ext_observability.correlation import context as ids
from ordinaut_ext_observability.correlation.ids import parse_traceparent, random_ids
from ordinaut_ext_observability.metrics.execution import FunctionT, within

__all__ = ["Span", "continue_event", "event_fields", "pipeline_span", "step_span", "validation_span"]

Facts = Mapping[str, Any] | None

_MAX_NAMES, _MAX_NAME_LENGTH = 500, 100
_names: set[str] = set()
"""Names of spans in this process: tools list them all, so they are bounded, and later ones are `__other__`."""


class Span:
    """A block that is a span, the parent of those begun in it; as a decorator, each call of the function is one::

        with Span("render", {"template": "invoice"}) as span:
            span.set_attribute("pages", 3)

    It carries the ids of the work at hand, and a link to the request that queued it where it begins a trace. An
    exception that leaves the block is recorded. Asynchronous code and coroutine functions may have it, too.
    """

    def __init__(self, name: str, attributes: Facts = None, event: Facts = None, seconds: float = 0.0) -> None:
        """Its parent is in the fields of an `event`, else the current span; it began so many `seconds` ago."""
        self._given = (name, attributes or {}, event, seconds)
        self._span: Any = None
        self._outer: Any = None

    def __call__(self, function: FunctionT) -> FunctionT:
        return within("Span", function, lambda *_: Span(*self._given))

    @never_raises
    def set_attribute(self, name: str, value: Any) -> None:
        """Note a fact: a text, a number, or a list of such."""
        if self._span is not None:
            self._span.set_attribute(name, value)

    def __enter__(self) -> Self:
        self._begin(*self._given)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.end(error)

    @never_raises
    def end(self, error: BaseException | str | None = None) -> None:
        """End it, failed where there is an error, or the name of its type. Ending it again does nothing."""
        span, self._span = self._span, None
        if span is None:
            return
        from opentelemetry import context, trace

        if trace.get_current_span() is span:  # else this is another context than it began in
            context.attach(self._outer)
        if isinstance(error, BaseException):
            span.record_exception(error)
            error = type(error).__name__
        if error is not None:
            span.set_status(trace.StatusCode.ERROR, error)
        span.end()

    @never_raises
    def _begin(self, name: str, attributes: Mapping[str, Any], event: Any, seconds: Any) -> None:
        process = runtime()
        if process.settings.general.disabled or not process.settings.tracing.wanted:
            return
        process.ports.export_once(process)  # where nothing is served this begins to trace
        if "opentelemetry.trace" not in sys.modules:
            return
        from opentelemetry import context, propagate, trace

        name = name[:_MAX_NAME_LENGTH]
        if len(_names) < _MAX_NAMES:
            _names.add(name)
        links, queued = [], queued_by.get()
        if queued is not None and not trace.get_current_span().get_span_context().is_valid:
            flags = trace.TraceFlags(queued[3])
            request = trace.SpanContext(int(queued[1], 16), int(queued[2], 16), is_remote=True, trace_flags=flags)
            links = [trace.Link(request)]
        work = {key.replace("_", "."): value for key, value in ids.work_ids.get().items()}
        self._outer = context.get_current()
        self._span = trace.get_tracer(__package__).start_span(
            name if name in _names else "__other__",
            context=propagate.extract(event) if event else None,
            kind=trace.SpanKind.INTERNAL if event is None else trace.SpanKind.CONSUMER,
            attributes={**work, **attributes},
            links=links,
            start_time=time.time_ns() - int(float(seconds) * 1e9),
        )
        context.attach(trace.set_span_in_context(self._span))


def pipeline_span() -> Span:
    """The span `execute_pipeline`."""
    return Span("execute_pipeline")


def validation_span(pipeline: Sized) -> Span:
    """The span `validate_pipeline`, with the number of `pipeline.steps`."""
    return Span("validate_pipeline", {"pipeline.steps": len(pipeline)})


def step_span(step_id: object, tool: object, seconds: float = 0.0) -> Span:
    """The span `execute_step_<id>` with its `step.tool`; of an id that `generate_step_id` made, the step's name."""
    name = f"execute_step_{step_id}".rsplit(STEP_ID_SEPARATOR, 1)[0]
    return Span(name, {"step.tool": str(tool)}, seconds=seconds)


def event_fields() -> dict[str, str]:
    """Fields to publish with an event for whoever handles it, such as `traceparent`; none outside of a request::

    await redis.xadd("events", {**fields, **event_fields()})
    """
    return {**ids.outgoing_fields(), **({"correlation_id": own} if (own := ids.current_correlation_id()) else {})}


@contextmanager
def continue_event(fields: Mapping[Any, Any], name: str = "handle_event") -> Iterator[Span]:
    """A block that goes on with the trace and correlation id of whoever published an event, and is a span of that name.

    `fields` are the event's, text or bytes; without those of `event_fields` the block has ids of its own.
    """
    before, carried = ids.request_ids.get(), _texts(fields) or {}
    if caller := parse_traceparent(carried.get("traceparent", "").encode()):
        ids.request_ids.set((caller[0], caller[0], random_ids.take()[1], caller[2]))
    try:
        with ids.RequestContext(correlation_id=carried.get("correlation_id")), Span(name, event=carried) as span:
            yield span
    finally:
        ids.request_ids.set(before)


RUN: ContextVar[Span | None] = ContextVar("ordinaut_run_span", default=None)
STEP: ContextVar[Span | None] = ContextVar("ordinaut_step_span", default=None)


def report(where: ContextVar[Span | None], begun: Span | None, error: str | None = None) -> bool:
    """End the span that was reported as begun, in the same context, and begin another; True where there was one."""
    if where is RUN:
        report(STEP, None, error)
    ended = where.get()
    if ended is not None:
        ended.end(error)
    where.set(begun and begun.__enter__())
    return ended is not None


@never_raises
def _texts(fields: Mapping[Any, Any]) -> dict[str, str]:
    texts = ([each.decode() if isinstance(each, bytes) else str(each) for each in field] for field in fields.items())
    return dict(texts)
