"""Where queued work came from: the ids of the request that queued it, as they travel to the worker."""

from __future__ import annotations

from ordinaut_ext_observability.context import RequestIds
from ordinaut_ext_observability.ids import match_client_id
from ordinaut_ext_observability.traceparent import parse_traceparent


def encode_origin(ids: RequestIds) -> bytes:
    """The correlation id and a `traceparent`, with a space between."""
    correlation_id, trace_id, span_id, sampled = ids
    return f"{correlation_id} 00-{trace_id}-{span_id}-{'01' if sampled else '00'}".encode()


def decode_origin(content: bytes) -> RequestIds | None:
    """The ids of `encode_origin`; None for other text, which must not reach log lines."""
    correlation_id, _, traceparent = content.partition(b" ")
    trace = parse_traceparent(traceparent)
    if trace is None or not match_client_id(correlation_id):
        return None
    return correlation_id.decode(), *trace
