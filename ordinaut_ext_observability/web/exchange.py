"""What the middleware shares with the exchanges it makes, and the response headers that carry the ids."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ordinaut_ext_observability.context import RequestIds
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.web.endpoints import EndpointResolver
from ordinaut_ext_observability.web.request_ids import RequestIdReader

Headers = list[tuple[bytes, bytes]]

loaded_modules = sys.modules


class Recorder(Protocol):
    """Takes finished HTTP exchanges, some at a time."""

    def record_waiting(self) -> None:
        """Record the exchanges that wait."""

    def wake(self) -> None:
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

    def internal_error(self) -> None:
        """Count a failure of ours; called where it is kept from the host."""
        self.metrics.count_internal_error("middleware")


def headers_with_ids(headers: Iterable[tuple[bytes, bytes]], correlation_id: str) -> Headers:
    """Response headers with ours: `X-Correlation-ID` always, `X-Request-ID` where there is none."""
    own_id = correlation_id.encode("ascii")
    kept = [header for header in headers if header[0].lower() != b"x-correlation-id"]
    if not any(name.lower() == b"x-request-id" for name, _ in kept):
        kept.append((b"x-request-id", own_id))
    kept.append((b"x-correlation-id", own_id))
    return kept


def ids_of_current_span(ids: RequestIds) -> RequestIds:
    """The ids with the trace of OpenTelemetry's current span, if there is one.

    Where OpenTelemetry traces the host, logs and exemplars belong to its trace. It is imported here by nobody: without
    its module in the process there is no span.
    """
    context = loaded_modules["opentelemetry.trace"].get_current_span().get_span_context()
    if not context.is_valid:
        return ids
    return (ids[0], f"{context.trace_id:032x}", f"{context.span_id:016x}", bool(context.trace_flags & 1))
