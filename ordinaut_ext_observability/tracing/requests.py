"""The span of each request, made in the outermost layer.

OpenTelemetry's ASGI middleware would take twenty times the time of that layer; this is the part of it that every
request needs, with the same attributes: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import Token
from fnmatch import translate
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode

from ordinaut_ext_observability.correlation.context import RequestIds
from ordinaut_ext_observability.version import __version__

_SPAN = "ordinaut_observability_span"
"""Key of the ASGI scope: an application may be measured again inside another, and has one span."""

_NO_CONTEXT = Context()


class RequestSpan:
    """The span of one request, current until `leave`; and the request's ids in it."""

    __slots__ = ("_span", "_token", "ids")

    def __init__(self, span: Span, context: Context, ids: RequestIds) -> None:
        self._span = span
        self._token: Token[Context] = attach(trace.set_span_in_context(span, context))
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
        self._span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")

    def end(self, method: str, endpoint: str | None, status: int, path: str, seconds: float) -> None:
        """End it as long after its start as the request took; `endpoint` is None where no route answered."""
        span: Any = self._span
        if not span.is_recording():
            return
        span.set_attribute("url.path", path)
        span.set_attribute("http.response.status_code", status)
        if endpoint is not None:
            span.set_attribute("http.route", endpoint)
            span.update_name(f"{method} {endpoint}")
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
        started = getattr(span, "start_time", None)
        span.end(None if started is None else started + int(seconds * 1e9))


class RequestTracer:
    """Begins the spans of requests."""

    def __init__(self, provider: trace.TracerProvider, quiet: Iterable[str]) -> None:
        """`quiet` are shell patterns of paths that have no spans, with nothing that is done for them."""
        self._tracer = provider.get_tracer("ordinaut_ext_observability", __version__)
        self._is_quiet = re.compile("|".join(map(translate, quiet))).match
        self._headers = frozenset(name.encode() for name in propagate.get_global_textmap().fields)

    def begin(self, scope: Any, ids: RequestIds) -> RequestSpan | None:
        """The span of this request; None where the application makes its own, or the request has one already."""
        if _SPAN in scope or _traces_itself(scope.get("app")):
            return None
        scope[_SPAN] = True
        if self._is_quiet(scope["path"].removeprefix(scope.get("root_path", ""))):
            unsampled = SpanContext(int(ids[1], 16), int(ids[2], 16), is_remote=False)
            return RequestSpan(NonRecordingSpan(unsampled), _NO_CONTEXT, ids)
        context, headers = _NO_CONTEXT, scope["headers"]
        for name, _ in headers:
            if name in self._headers:
                carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
                context = propagate.extract(carrier, _NO_CONTEXT)
                break
        method = scope.get("method", "WEBSOCKET")
        attributes: dict[str, Any] = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        if scope.get("server"):
            attributes["server.address"], attributes["server.port"] = scope["server"]
        span = self._tracer.start_span(method, context, SpanKind.SERVER, attributes)
        return RequestSpan(span, context, ids)


def _traces_itself(app: Any) -> bool:
    """True where the host instruments its application with OpenTelemetry itself."""
    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        return True
    return any(layer.cls.__name__ == "OpenTelemetryMiddleware" for layer in getattr(app, "user_middleware", ()))
