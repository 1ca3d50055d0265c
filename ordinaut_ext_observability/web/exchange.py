"""What the middleware shares with the exchanges it makes, and the response headers that carry the ids."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.correlation.context import RequestIds
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.web.request_ids import RequestIdReader
from ordinaut_ext_observability.web.route_templates import EndpointResolver

Headers = list[tuple[bytes, bytes]]

loaded_modules = sys.modules


class Recorder(Protocol):
    """Takes finished HTTP exchanges, some at a time."""

    def record_waiting(self) -> None:
        """Record the exchanges that wait."""

    def wake(self, *, urgent: bool = False) -> None:
        """Have the waiting exchanges recorded soon."""


@dataclass(frozen=True, slots=True)
class Observer:
    """What all exchanges of an application work with."""

    metrics: Metrics
    id_reader: RequestIdReader
    endpoints: EndpointResolver
    recorder: Recorder
    in_progress: set[Any]
    """HTTP exchanges that are not finished."""
    waiting: deque[Any]
    """HTTP exchanges that are finished and not recorded."""
    server_timing: bool = True
    """Whether responses get a `Server-Timing` header."""

    def internal_error(self) -> None:
        """Count a failure of ours; called where it is kept from the host."""
        self.metrics.count_internal_error("middleware")


def add_own_headers(headers: Headers, observer: Observer, ids: RequestIds, started: float) -> dict[bytes, bytes]:
    """Add our response headers to these, and return them by their names in lower case.

    `X-Correlation-ID` always, `X-Request-ID` where there is none, and `Server-Timing` beside the host's own: the
    milliseconds from `started` (of the monotonic clock) until now, when the response begins.
    """
    try:
        named = dict(headers)
        lower = b"".join(named).islower()
    except TypeError:  # text, or bytes that can change
        lower = False
    if not lower:  # names may come in any case
        named = {_lower_name(name): value for name, value in headers}
    own_id = ids[0].encode("ascii")
    if b"x-correlation-id" in named:
        headers[:] = [header for header in headers if _lower_name(header[0]) != b"x-correlation-id"]
    if b"x-request-id" not in named:
        headers.append((b"x-request-id", own_id))
    headers.append((b"x-correlation-id", own_id))
    if observer.server_timing:
        headers.append((b"server-timing", b"app;dur=%.1f" % ((monotonic_seconds() - started) * 1000)))
    return named


def _lower_name(name: bytes | str) -> bytes:
    """A header's name in lower case. ASGI asks for bytes; some servers take text as well."""
    return (name.encode("latin-1") if isinstance(name, str) else bytes(name)).lower()


def ids_of_current_span(ids: RequestIds) -> RequestIds:
    """The ids with the trace of OpenTelemetry's current span, if there is one.

    Where OpenTelemetry traces the host, logs and exemplars belong to its trace. It is imported here by nobody: without
    its module in the process there is no span.
    """
    context = loaded_modules["opentelemetry.trace"].get_current_span().get_span_context()
    if not context.is_valid:
        return ids
    return (ids[0], f"{context.trace_id:032x}", f"{context.span_id:016x}", bool(context.trace_flags & 1))
