"""The trace of the running code, for what it sends out. OpenTelemetry is asked where something has imported it."""

from __future__ import annotations

import sys

from ordinaut_ext_observability.correlation.context import RequestIds, current_traceparent, request_ids


def current_ids() -> RequestIds | None:
    """The ids of the request or run the running code belongs to, with the span it is in; None outside of one."""
    ids, trace = request_ids.get(), sys.modules.get("opentelemetry.trace")
    if trace is not None and (span := trace.get_current_span().get_span_context()).is_valid:
        trace_id = f"{span.trace_id:032x}"
        return (ids[0] if ids else trace_id, trace_id, f"{span.span_id:016x}", span.trace_flags.sampled)
    return ids


def outgoing_fields() -> dict[str, str]:
    """Headers of an outgoing call, or fields of an event: `traceparent`, and what else OpenTelemetry's propagators add.

    Without OpenTelemetry the ids are those of `current_traceparent`; outside of a request it is empty.
    """
    fields: dict[str, str] = {}
    if (propagate := sys.modules.get("opentelemetry.propagate")) is not None:
        propagate.inject(fields)
    if not fields and (own := current_traceparent()):
        fields["traceparent"] = own
    return fields
