"""What the running code works for: the ids that belong on its log lines and outgoing calls.

They are kept in a context variable: an asyncio task, or a thread started with a copied context, sees the values of its
creator, and a change in one never shows in another.
"""

from __future__ import annotations

from contextvars import ContextVar

RequestIds = tuple[str, str, str, bool]
"""Correlation id, W3C trace id (32 hex digits), span id (16), and whether the caller records the trace.

A plain tuple in one variable, since it is made and bound for every request. The span id is the request's own.
Source of the trace fields: https://www.w3.org/TR/trace-context/#traceparent-header
"""

request_ids: ContextVar[RequestIds | None] = ContextVar("ordinaut_request_ids", default=None)
"""The ids of the request the running code belongs to."""


def current_correlation_id() -> str | None:
    """The id that ties together everything done for one request, or None outside of one."""
    ids = request_ids.get()
    return ids[0] if ids is not None else None


def current_traceparent() -> str | None:
    """The `traceparent` header value for an outgoing call, or None outside a request.

    Works without a tracer: the ids are those accepted from the caller, else generated for the request.
    """
    ids = request_ids.get()
    if ids is None:
        return None
    _, trace_id, span_id, sampled = ids
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"
