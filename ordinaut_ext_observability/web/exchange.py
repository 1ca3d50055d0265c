"""What HTTP requests and WebSocket connections have in common: their parts, their ids, our headers on the response."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.correlation.context import RequestIds
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.web.recorder import RequestRecorder
from ordinaut_ext_observability.web.request_ids import Headers, RequestIdReader
from ordinaut_ext_observability.web.route_templates import EndpointResolver

loaded_modules = sys.modules


@dataclass(frozen=True, slots=True)
class MiddlewareContext:
    """The parts that all exchanges of an application work with."""

    metrics: Metrics
    id_reader: RequestIdReader
    endpoints: EndpointResolver
    recorder: RequestRecorder
    server_timing: bool
    """True: responses get a `Server-Timing` header."""

    def count_error(self) -> None:
        """Count a failure of ours, where it is kept from the host."""
        self.metrics.count_internal_error("middleware")


class Exchange:
    """The facts of one request or connection. Defaults are the class's: most exchanges need no more."""

    finished = False

    def __init__(self, context: MiddlewareContext, scope: Scope, receive: Receive, send: Send) -> None:
        self.started = monotonic_seconds()
        self.scope = scope
        self.ids: RequestIds = context.id_reader.read(scope)
        self._context = context
        self._receive = receive
        self._send = send

    def endpoint(self) -> str:
        """The full template of the route that answered."""
        return self._context.endpoints.resolve(self.scope)

    def add_own_headers(self, headers: Headers) -> dict[bytes, bytes]:
        """Add our response headers to these, and return them by their names in lower case.

        `X-Correlation-ID` always, `X-Request-ID` where there is none, and beside the host's own `Server-Timing` with
        the milliseconds until now, when the response begins.
        """
        try:
            named = dict(headers)
            lower = b"".join(named).islower()
        except TypeError:  # text, or bytes that can change
            lower = False
        if not lower:  # names may come in any case
            named = {_lower_name(name): value for name, value in headers}
        own_id = self.ids[0].encode("ascii")
        if b"x-correlation-id" in named:
            headers[:] = [header for header in headers if _lower_name(header[0]) != b"x-correlation-id"]
        if b"x-request-id" not in named:
            headers.append((b"x-request-id", own_id))
        headers.append((b"x-correlation-id", own_id))
        if self._context.server_timing:
            headers.append((b"server-timing", b"app;dur=%.1f" % ((monotonic_seconds() - self.started) * 1000)))
        return named


def _lower_name(name: bytes | str) -> bytes:
    """A header's name in lower case. ASGI asks for bytes; some servers take text as well."""
    return (name.encode("latin-1") if isinstance(name, str) else bytes(name)).lower()


def ids_of_current_span(ids: RequestIds) -> RequestIds:
    """The ids with the trace of OpenTelemetry's current span, if there is one: the host's trace is also its logs'.

    We import OpenTelemetry nowhere: without its module in the process there is no span.
    """
    context = loaded_modules["opentelemetry.trace"].get_current_span().get_span_context()
    if not context.is_valid:
        return ids
    return (ids[0], f"{context.trace_id:032x}", f"{context.span_id:016x}", bool(context.trace_flags & 1))
