"""What the running code works for: the ids that belong on its log lines and outgoing calls.

They are kept in a context variable: an asyncio task, or a thread started with a copied context, sees the values of its
creator, and a change in one never shows in another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import MappingProxyType

RequestIds = tuple[str, str, str, bool]
"""Correlation id, W3C trace id (32 hex digits), span id (16), and whether the caller records the trace.

A plain tuple in one variable, since it is made and bound for every request. The span id is the request's own.
Source of the trace fields: https://www.w3.org/TR/trace-context/#traceparent-header
"""

request_ids: ContextVar[RequestIds | None] = ContextVar("ordinaut_request_ids", default=None)
"""The ids of the request the running code belongs to."""


WORK_FIELDS = ("task_id", "run_id", "step_id", "agent_id", "worker_id")
"""The ids of the work at hand, in the order of the log line."""

NO_WORK: Mapping[str, str] = MappingProxyType({})

work_ids: ContextVar[Mapping[str, str]] = ContextVar("ordinaut_work_ids", default=NO_WORK)
"""The known ones of `WORK_FIELDS`. The mapping is never changed, only replaced."""


@contextmanager
def bound(**ids: str | None) -> Iterator[None]:
    """Work under these ids (of `WORK_FIELDS`) until the block ends; None leaves an id as it is."""
    token = work_ids.set(with_ids(ids))
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator closed from elsewhere: this context is not the one the block began in
            work_ids.reset(token)


def with_ids(ids: Mapping[str, str | None]) -> Mapping[str, str]:
    """The current work ids with the given ones put in their place.

    Raises:
        TypeError: an id is not one of `WORK_FIELDS`.
    """
    unknown = ids.keys() - set(WORK_FIELDS)
    if unknown:
        raise TypeError(f"no such id: {', '.join(sorted(unknown))}; there are {', '.join(WORK_FIELDS)}")
    return {**work_ids.get(), **{name: value for name, value in ids.items() if value}}


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
