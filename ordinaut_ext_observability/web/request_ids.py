"""The ids of a request: taken from its headers where they may be, else made."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter

from starlette.types import Scope

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.correlation.context import SCOPE_KEY, RequestIds
from ordinaut_ext_observability.correlation.ids import MAX_ID_LENGTH, match_client_id, parse_traceparent, random_ids
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.web.access import AddressList

Headers = list[tuple[bytes, bytes]]

_ID_HEADERS = frozenset((b"x-request-id", b"x-correlation-id", b"traceparent"))
_name_of = itemgetter(0)
_take_pooled = random_ids.take_pooled

_WARNING_SECONDS = 60.0  # between two warnings about ids: one tells of the habit, the metric counts the cases


@dataclass(eq=False, slots=True)
class RequestIdReader:
    """Reads ids from request headers.

    `X-Request-ID` wins over `X-Correlation-ID`. An id is accepted when it has 1 to 128 of `A-Za-z0-9._-` and comes
    from a trusted address; else the request gets a new one.
    """

    trusted: AddressList
    metrics: Metrics
    event: events.LogEvent
    _warning_due_at: float = field(default=0.0, init=False)

    def read(self, scope: Scope) -> RequestIds:
        """The request's ids, with a span id of our own."""
        ids: RequestIds | None = scope.get(SCOPE_KEY)
        if ids is None:
            try:
                trace_id, span_id = _take_pooled()
            except IndexError:
                trace_id, span_id = random_ids.refill()
            ids = (trace_id, trace_id, span_id, False)
            headers = scope["headers"]
            if not _ID_HEADERS.isdisjoint(map(_name_of, headers)):
                ids = self._continue(trace_id, span_id, headers, scope)
            scope[SCOPE_KEY] = ids
        return ids

    def parent_id(self, scope: Scope) -> str | None:
        """The well-formed id of a caller that was not trusted to set it."""
        if self.trusted.holds(scope.get("client")):
            return None
        headers = dict(scope["headers"])
        offered = headers.get(b"x-request-id") or headers.get(b"x-correlation-id") or b""
        return offered.decode("ascii") if match_client_id(offered) else None

    def _continue(self, trace_id: str, span_id: str, headers: Headers, scope: Scope) -> RequestIds:
        """The ids with what the caller gave put in their place."""
        named = dict(headers)
        correlation_id = trace_id
        sampled = False
        traceparent = named.get(b"traceparent")
        if traceparent is not None and sum(name == b"traceparent" for name, _ in headers) == 1:
            caller = parse_traceparent(traceparent)
            if caller is not None:
                trace_id, _, sampled = caller
        offered = named.get(b"x-request-id") or named.get(b"x-correlation-id")
        if offered is not None:
            reason = "untrusted_address"
            if match_client_id(offered) is None:
                reason = "too_long" if len(offered) > MAX_ID_LENGTH else "characters"
            elif self.trusted.holds(scope.get("client")):
                return (offered.decode("ascii"), trace_id, span_id, sampled)
            self.metrics.request_ids_rejected.labels(reason).inc()
            now = monotonic_seconds()
            if reason != "untrusted_address" and now >= self._warning_due_at:
                self._warning_due_at = now + _WARNING_SECONDS
                self.event(events.REQUEST_ID_REJECTED, reason=reason, length=len(offered))
        return (correlation_id, trace_id, span_id, sampled)
