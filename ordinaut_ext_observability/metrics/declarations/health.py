"""Metrics of health checks."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import Buckets, MetricSet, counter, gauge, histogram

CHECK = Buckets(
    "A check is a read of the kernel's or a request within the timeout of 5 s, of at most an hour.",
    (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class HealthMetrics(MetricSet, title="Health and process"):
    """Checks, and the event loop they run on."""

    health_status = gauge(
        "orchestrator_health_status{check}",
        "Status of each health check: 0 healthy, 1 degraded or unknown, 2 unhealthy or without a recent result.",
    )
    health_check_seconds = histogram(
        "orchestrator_health_check_duration_seconds{check}",
        "How long runs of health checks took, those that timed out included.",
        buckets=CHECK,
    )
    health_last_success = gauge(
        "orchestrator_health_last_success_timestamp_seconds{check}",
        "When a run of the health check last ended that was not unhealthy, in seconds since 1970.",
    )
    health_transitions = counter(
        "orchestrator_health_transitions_total{check,status}",
        "Changes of a health check's status, by the status after it, `unknown` too; the first result counts.",
    )
    event_loop_lag = gauge(
        "orchestrator_process_event_loop_lag_seconds{process}",
        "How late the host's event loop last ran a timer; while it is blocked, for how long it has been.",
    )
    event_loop_stalls = counter(
        "orchestrator_process_event_loop_stalls_total{process}",
        "Times that the host's event loop ran nothing for 1.5 s or longer; from one second on it may count.",
    )
    process_memory = gauge(
        "orchestrator_process_memory_bytes{process,type}",
        "Memory of the process that serves, of the largest where there are several: rss, what it holds in RAM.",
    )
