"""What HTTP requests, streams and websockets did."""

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


class HttpMetrics(MetricSet):
    """Requests as the middleware sees them."""

    title = "HTTP"

    http_requests = counter(
        "orchestrator_http_requests_total",
        "HTTP requests answered, by method, route template and status code; 499: the client went away first.",
        ("method", "endpoint", "status_code"),
    )
    http_request_seconds = histogram(
        "orchestrator_http_request_duration_seconds",
        "Time from the arrival of a request to the last byte of its response.",
        ("method", "endpoint"),
        buckets=REQUEST,
    )
    http_in_progress = gauge(
        "orchestrator_http_requests_in_progress",
        "HTTP requests whose response is not complete; server-sent events are counted apart.",
        ("method",),
        merged_by="sum",
    )
    http_exceptions = counter(
        "orchestrator_http_exceptions_total",
        "Exceptions that left the host's application unhandled, background tasks included.",
        ("method", "endpoint", "exception_type"),
    )
    http_request_bytes = counter(
        "orchestrator_http_request_body_bytes_total",
        "Bytes of request bodies as read by the application.",
        ("method", "endpoint"),
    )
    http_response_bytes = counter(
        "orchestrator_http_response_body_bytes_total", "Bytes of response bodies as sent.", ("method", "endpoint")
    )
    plugin_requests = counter(
        "orchestrator_plugin_http_requests_total",
        "HTTP requests answered under /ext/<plugin_id>/.",
        ("plugin_id", "status_code"),
    )
    plugin_request_seconds = histogram(
        "orchestrator_plugin_http_request_duration_seconds",
        "Time from the arrival of a request under /ext/<plugin_id>/ to the last byte of its response.",
        ("plugin_id",),
        buckets=REQUEST,
    )
    streams_open = gauge(
        "orchestrator_http_streams_open", "Server-sent event streams that are open.", ("endpoint",), merged_by="sum"
    )
    stream_seconds = histogram(
        "orchestrator_http_stream_duration_seconds",
        "How long server-sent event streams lasted.",
        ("endpoint",),
        buckets=CONNECTION,
    )
    stream_messages = counter(
        "orchestrator_http_stream_messages_total",
        "Pieces sent on server-sent event streams that have ended.",
        ("endpoint",),
    )
    websockets_open = gauge(
        "orchestrator_websocket_connections_open",
        "WebSocket connections that are open.",
        ("endpoint",),
        merged_by="sum",
    )
    websockets = counter(
        "orchestrator_websocket_connections_total",
        "WebSocket connections that have ended, by close code; 403: refused before they were accepted.",
        ("endpoint", "close_code"),
    )
    websocket_seconds = histogram(
        "orchestrator_websocket_connection_duration_seconds",
        "How long accepted WebSocket connections lasted.",
        ("endpoint",),
        buckets=CONNECTION,
    )
    websocket_messages = counter(
        "orchestrator_websocket_messages_total",
        "WebSocket messages on connections that have ended.",
        ("endpoint", "direction"),
    )
    websocket_bytes = counter(
        "orchestrator_websocket_message_bytes_total",
        "Payload of WebSocket messages on connections that have ended; text as UTF-8.",
        ("endpoint", "direction"),
    )
