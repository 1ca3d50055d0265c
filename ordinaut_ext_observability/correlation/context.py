"""The work that the running code does: the ids that belong on its log lines and outgoing calls.

They are kept in context variables: an asyncio task, or a thread started with a copied context, sees the values of its
creator, and a change in one never shows in another.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Self

from ordinaut_ext_observability.correlation.ids import match_client_id, random_ids

RequestIds = tuple[str, str, str, bool]
"""Correlation id, W3C trace id (32 hex digits), span id (16), and whether the caller records the trace.

A plain tuple in one variable, since it is made and bound for every request. The span id is the request's own.
Source of the trace fields: https://www.w3.org/TR/trace-context/#traceparent-header
"""

request_ids: ContextVar[RequestIds | None] = ContextVar("ordinaut_request_ids", default=None)
"""The ids of the request the running code belongs to."""

SCOPE_KEY = "ordinaut_observability_ids"
"""The ids' place in the ASGI scope: a measured application mounted in another has those of the outer one."""

WORK_FIELDS = ("task_id", "run_id", "step_id", "agent_id", "worker_id")
"""The ids of the work at hand, in the order of the log line."""

NO_WORK: Mapping[str, str] = MappingProxyType({})

work_ids: ContextVar[Mapping[str, str]] = ContextVar("ordinaut_work_ids", default=NO_WORK)
"""The known ones of `WORK_FIELDS`. The mapping is never changed, only replaced."""


def current_ids() -> RequestIds | None:
    """The ids of the request with the span that is current in it; None outside of both."""
    return with_current_span(request_ids.get())


def with_current_span(ids: RequestIds | None) -> RequestIds | None:
    """The ids with the trace of OpenTelemetry's current span, if there is one: not where nobody imported it."""
    get_current_span = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if get_current_span is None or not (span := get_current_span().get_span_context()).is_valid:
        return ids
    trace_id = f"{span.trace_id:032x}"
    return (ids[0] if ids else trace_id, trace_id, f"{span.span_id:016x}", bool(span.trace_flags & 1))


def current_correlation_id() -> str | None:
    """The id that ties together everything done for one request, or None outside of one."""
    ids = request_ids.get()
    return None if ids is None else ids[0]


def current_traceparent() -> str | None:
    """The `traceparent` header value for an outgoing call, or None outside a request.

    Works without a tracer: the ids are those accepted from the caller, else generated for the request.
    """
    ids = current_ids()
    if ids is None:
        return None
    _, trace_id, span_id, sampled = ids
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def outgoing_fields() -> dict[str, str]:
    """Fields that go out with a call or event: `traceparent`, and what else OpenTelemetry's propagators add to it."""
    fields: dict[str, str] = {}
    if inject := getattr(sys.modules.get("opentelemetry.propagate"), "inject", None):
        inject(fields)
    if own := current_traceparent():
        fields.setdefault("traceparent", own)
    return fields


_Entered = tuple["RequestContext", RequestIds | None, Mapping[str, str], Any]

_entered: ContextVar[_Entered | None] = ContextVar("ordinaut_entered_blocks", default=None)
"""The block that has begun in this context, the ids bound before it, and the block around it."""


class RequestContext:
    """Binds a correlation id, and the ids of the work at hand, to everything done in the block.

    Blocks nest: the inner one inherits what it is not given. One object may be used for many blocks, also at the same
    time in several tasks or threads.

        with RequestContext(task_id="42", agent_id="mailer") as context:
            logger.info("sending")  # the line carries context.correlation_id and the task's ids
    """

    def __init__(
        self,
        task_id: str | None = None,
        agent_id: str | None = None,
        *,
        correlation_id: str | None = None,
        run_id: str | None = None,
        step_id: str | None = None,
        worker_id: str | None = None,
    ) -> None:
        """`correlation_id` is one that came from elsewhere: 1 to 128 of `A-Za-z0-9._-`, else it is replaced.

        Without one, that of the surrounding block or request is kept, or a new one made.
        """
        given = "" if correlation_id is None else str(correlation_id)
        self._given_id = given if match_client_id(given.encode("utf-8", "replace")) else None
        ids = (task_id, run_id, step_id, agent_id, worker_id)
        # They are often UUID objects; their text is what goes on the line.
        self._work = {name: None if value is None else str(value) for name, value in zip(WORK_FIELDS, ids, strict=True)}
        self._first_ids: RequestIds | None = self._ids()
        self.correlation_id = self._first_ids[0]
        """That of the block entered last; before the first, the one it will have unless it is entered under another."""

    @property
    def context(self) -> dict[str, str | None]:
        """The ids as a mapping, as the line's `task_context` has them."""
        work = self._work
        return {"task_id": work["task_id"], "agent_id": work["agent_id"], "request_id": self.correlation_id}

    def __enter__(self) -> Self:
        first_ids, self._first_ids = self._first_ids, None
        outer, work = request_ids.get(), work_ids.get()
        ids = first_ids if first_ids is not None and outer is None else self._ids()
        _entered.set((self, outer, work, _entered.get()))
        request_ids.set(ids)
        work_ids.set({**work, **{name: value for name, value in self._work.items() if value}})
        self.correlation_id = ids[0]
        return self

    def __exit__(self, *_: object) -> None:
        entered = _entered.get()
        if entered is None or entered[0] is not self:
            return  # a generator closed from elsewhere: this context is not the one the block began in
        request_ids.set(entered[1])
        work_ids.set(entered[2])
        _entered.set(entered[3])

    def _ids(self) -> RequestIds:
        trace_id, span_id = random_ids.take()
        correlation_id, trace_id, _, sampled = request_ids.get() or (trace_id, trace_id, "", False)
        return (self._given_id or correlation_id, trace_id, span_id, sampled)
