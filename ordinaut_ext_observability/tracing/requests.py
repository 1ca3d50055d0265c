"""The span of each request, made in the outermost layer.

It has the attributes that OpenTelemetry's ASGI middleware gives, in a part of its time; names and meanings:
https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode

from ordinaut_ext_observability.correlation.context import RequestIds
from ordinaut_ext_observability.version import __version__

_SPAN = "ordinaut_observability_span"
"""Key of the ASGI scope: a measured application may be mounted in another, and the request has one span."""

_NO_CONTEXT = Context()


class RequestSpan:
    """The span of one request, current until `leave`, and the request's ids in it."""

    __slots__ = ("_span", "_token", "ids")

    def __init__(self, span: Span, context: Context, ids: RequestIds) -> None:
        self._span = span
        self._token = attach(trace.set_span_in_context(span, context))
        found = span.get_span_context()
        trace_id = f"{found.trace_id:032x}"
        correlation_id = trace_id if ids[0] == ids[1] else ids[0]  # one that we made is the trace's
        self.ids: RequestIds = (correlation_id, trace_id, f"{found.span_id:016x}", bool(found.trace_flags & 1))

    def leave(self) -> None:
        """Make what was current before current again."""
        detach(self._token)

    def fail(self, error: BaseException) -> None:
        """Note what the application raised."""
        self._span.record_exception(error)
        self._span.set_attribute("error.type", type(error).__name__)

    def end(self, name: str, attributes: dict[str, Any], seconds: float) -> None:
        """End it as long after its start as the request took."""
        span: Any = self._span
        if span.is_recording():
            span.update_name(name)
            status = attributes["http.response.status_code"]
            if status >= 500:
                attributes.setdefault("error.type", str(status))
                span.set_status(StatusCode.ERROR)
            span.set_attributes(attributes | dict(span.attributes or {}))
            span.end(span.start_time + int(seconds * 1e9))


class RequestTracer:
    """Begins the spans of requests."""

    def __init__(self, quiet: Iterable[str], is_own: Callable[[str], bool]) -> None:
        """Paths of our own, and those of the `quiet` shell patterns, have no spans, nor has what is done for them."""
        self._tracer = trace.get_tracer("ordinaut_ext_observability", __version__)
        self._is_quiet = re.compile("|".join(map(translate, quiet))).match
        self._is_own = is_own
        self._headers = frozenset(name.encode() for name in propagate.get_global_textmap().fields)

    def begin(self, scope: Any, ids: RequestIds) -> RequestSpan | None:
        """The span of this request; None where FastAPI's instrumentation makes one, or the request has one already."""
        if _SPAN in scope or getattr(scope.get("app"), "_is_instrumented_by_opentelemetry", False):
            return None
        scope[_SPAN] = True
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._is_quiet(path) or self._is_own(path):
            unsampled = SpanContext(int(ids[1], 16), int(ids[2], 16), is_remote=False)
            return RequestSpan(NonRecordingSpan(unsampled), _NO_CONTEXT, ids)
        context, headers = _NO_CONTEXT, scope["headers"]
        if not self._headers.isdisjoint(dict(headers)):
            carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
            context = propagate.extract(carrier, _NO_CONTEXT)
        attributes = {"http.request.method": scope["method"], "url.scheme": scope.get("scheme", "http")}
        if scope.get("server"):
            attributes["server.address"], attributes["server.port"] = scope["server"]
        span = self._tracer.start_span(scope["method"], context, SpanKind.SERVER, attributes)
        return RequestSpan(span, context, ids)
