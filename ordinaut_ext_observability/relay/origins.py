"""Where queued work came from: the ids of the request that queued it, as they travel to the worker."""

from __future__ import annotations

from typing import NamedTuple

from ordinaut_ext_observability.correlation.context import RequestIds
from ordinaut_ext_observability.correlation.ids import match_client_id, parse_traceparent


class Origin(NamedTuple):
    """A request, and when it queued the work."""

    ids: RequestIds
    queued_at: float
    """Seconds since 1970, by the clock of the process that served the request."""


def encode_origin(origin: Origin) -> bytes:
    """The correlation id, a `traceparent` and the time, with spaces between."""
    correlation_id, trace_id, span_id, sampled = origin.ids
    return f"{correlation_id} 00-{trace_id}-{span_id}-{'01' if sampled else '00'} {origin.queued_at:.3f}".encode()


def decode_origin(content: bytes) -> Origin | None:
    """The origin of `encode_origin`; None for other text, which must not reach log lines."""
    correlation_id, _, rest = content.partition(b" ")
    traceparent, _, queued_at = rest.partition(b" ")
    trace = parse_traceparent(traceparent)
    if trace is None or not match_client_id(correlation_id):
        return None
    try:
        return Origin((correlation_id.decode(), *trace), float(queued_at))
    except ValueError:
        return None
