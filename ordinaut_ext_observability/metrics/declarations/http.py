"""Metrics of HTTP requests, streams and websockets."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import Buckets, MetricSet, counter, gauge, histogram

REQUEST = Buckets(
    "From a cached answer to the point where clients give up; the rules of Ordinaut ask for 0.5, 1 and 2 seconds.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
)
"""In place of these the settings may give others."""

CONNECTION = Buckets(
    "Connections and streams live from one exchange to a working day.",
    (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0),
)


class HttpMetrics(MetricSet, title="HTTP"):
    """Requests as the middleware sees them."""

    http_requests = counter(
        "orchestrator_http_requests_total{method,endpoint,status_code}",
        "HTTP requests answered, by method, route template and status code; 499: the client went away first.",
    )
    http_request_seconds = histogram(
        "orchestrator_http_request_duration_seconds{method,endpoint}",
        "Time from the arrival of a request to the last byte of its response.",
        buckets=REQUEST,
    )
    http_in_progress = gauge(
        "orchestrator_http_requests_in_progress{method}",
        "HTTP requests whose response is not complete; server-sent events are counted apart.",
        merged_by="sum",
    )
    http_exceptions = counter(
        "orchestrator_http_exceptions_total{method,endpoint,exception_type}",
        "Exceptions that left the host's application unhandled, background tasks included.",
    )
    http_request_bytes = counter(
        "orchestrator_http_request_body_bytes_total{method,endpoint}",
        "Bytes of request bodies as read by the application.",
    )
    http_response_bytes = counter(
        "orchestrator_http_response_body_bytes_total{method,endpoint}", "Bytes of response bodies as sent."
    )
    plugin_requests = counter(
        "orchestrator_plugin_http_requests_total{plugin_id,status_code}",
        "HTTP requests answered under /ext/<plugin_id>/.",
    )
    plugin_request_seconds = histogram(
        "orchestrator_plugin_http_request_duration_seconds{plugin_id}",
        "Time from the arrival of a request under /ext/<plugin_id>/ to the last byte of its response.",
        buckets=REQUEST,
    )
    streams_open = gauge(
        "orchestrator_http_streams_open{endpoint}", "Server-sent event streams that are open.", merged_by="sum"
    )
    stream_seconds = histogram(
        "orchestrator_http_stream_duration_seconds{endpoint}",
        "How long server-sent event streams lasted.",
        buckets=CONNECTION,
    )
    stream_messages = counter(
        "orchestrator_http_stream_messages_total{endpoint}", "Pieces sent on server-sent event streams that have ended."
    )
    websockets_open = gauge(
        "orchestrator_websocket_connections_open{endpoint}", "WebSocket connections that are open.", merged_by="sum"
    )
    websockets = counter(
        "orchestrator_websocket_connections_total{endpoint,close_code}",
        "WebSocket connections that have ended, by close code; 403: refused before they were accepted.",
    )
    websocket_seconds = histogram(
        "orchestrator_websocket_connection_duration_seconds{endpoint}",
        "How long accepted WebSocket connections lasted.",
        buckets=CONNECTION,
    )
    websocket_messages = counter(
        "orchestrator_websocket_messages_total{endpoint,direction}",
        "WebSocket messages on connections that have ended.",
    )
    websocket_bytes = counter(
        "orchestrator_websocket_message_bytes_total{endpoint,direction}",
        "Payload of WebSocket messages on connections that have ended; text as UTF-8.",
    )
    http_client_requests = counter(
        "orchestrator_http_client_requests_total{host,method,status}",
        "Requests of instrumented httpx clients, by status code or, without an answer, the exception's type.",
    )
    http_client_seconds = histogram(
        "orchestrator_http_client_request_duration_seconds{host,method}",
        "Time from sending a request to the head of its answer, or to the failure.",
        buckets=REQUEST,
    )
