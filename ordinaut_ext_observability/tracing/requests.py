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

from ordinaut_ext_observability.correlation.context import SCOPE_KEY, with_current_span
from ordinaut_ext_observability.version import __version__

_SPAN = "ordinaut_observability_span"  # in the scope


class RequestSpan:
    """The span of one request, current in its context; also after its end where a server may still log."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span, context: Context, *, by_server: bool) -> None:
        self._span = span
        token = attach(trace.set_span_in_context(span, context))
        self._token = None if by_server else token

    def fail(self, error: BaseException) -> None:
        """Note what the application raised."""
        self._span.record_exception(error)
        self._span.set_attribute("error.type", type(error).__name__)

    def end(self, name: str, attributes: dict[str, Any], seconds: float) -> None:
        """End it as long after its start as the request took."""
        if self._token is not None:
            detach(self._token)
        span: Any = self._span
        if span.is_recording():
            span.update_name(name)
            if attributes["http.response.status_code"] >= 500:
                attributes.setdefault("error.type", str(attributes["http.response.status_code"]))
                span.set_status(StatusCode.ERROR)
            span.set_attributes(attributes | dict(span.attributes or {}))
            span.end(span.start_time + int(seconds * 1e9))


class RequestTracer:
    """Begins the spans of requests."""

    def __init__(self, quiet: Iterable[str], is_own: Callable[[str], bool]) -> None:
        """Paths of our own, and those of the `quiet` shell patterns, have no spans, nor has what is done for them."""
        self._tracer = trace.get_tracer("ordinaut_ext_observability", __version__)
        self._is_quiet = re.compile("|".join(map(translate, quiet)) or "(?!)").match
        self._is_own = is_own
        self._headers = frozenset(name.encode() for name in propagate.get_global_textmap().fields)

    def begin(self, exchange: Any) -> None:
        """Give the request a span and its ids, unless the host or an outer layer of ours does."""
        scope, ids = exchange.scope, exchange.ids
        if _SPAN in scope or _traces_itself(scope):
            return
        path, context = scope["path"].removeprefix(scope.get("root_path", "")), Context()
        if self._is_quiet(path) or self._is_own(path):
            span: Span = NonRecordingSpan(SpanContext(int(ids[1], 16), int(ids[2], 16), is_remote=False))
        else:
            if not self._headers.isdisjoint(dict(scope["headers"])):
                carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
                context = propagate.extract(carrier, context)
            attributes = {"http.request.method": exchange.known_method(), "url.scheme": scope.get("scheme", "http")}
            server = zip(("server.address", "server.port"), scope.get("server") or (), strict=False)
            attributes.update(pair for pair in server if pair[1] is not None)
            span = self._tracer.start_span(exchange.known_method(), context, SpanKind.SERVER, attributes)
        exchange.span = scope[_SPAN] = RequestSpan(span, context, by_server="spec_version" in (scope.get("asgi") or ()))
        # A correlation id that we made is the trace's.
        exchange.ids = scope[SCOPE_KEY] = with_current_span(None if ids[0] == ids[1] else ids) or ids


def _traces_itself(scope: Any) -> bool:
    """True where a layer of the host, OpenTelemetry's, Starlette's or FastAPI's own, makes the request's span."""
    app = scope.get("app")
    if getattr(app, "_is_instrumented_by_opentelemetry", False) or getattr(
        scope.get("fastapi.telemetry"), "span", None
    ):
        return True
    return any("OpenTelemetryMiddleware" in str(layer.cls) for layer in getattr(app, "user_middleware", ()))
