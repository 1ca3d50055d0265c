"""Metrics of deployments."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import MetricSet, counter, gauge


class ReleaseMetrics(MetricSet, title="Deployments"):
    """Deployments that were posted, or that processes started with."""

    deployments = counter(
        "orchestrator_deployments_total{environment,outcome}", "Deployments by outcome: success or failed."
    )
    deployment_time = gauge(
        "orchestrator_deployment_last_timestamp_seconds{environment}", "When the last deployment was, since 1970."
    )
    deployment_seconds = gauge(
        "orchestrator_deployment_last_duration_seconds{environment}", "Time the last deployment took, where it says so."
    )
    deployment_coverage = gauge(
        "orchestrator_deployment_last_test_coverage_ratio{environment}", "Test coverage of the last deployment, 0 to 1."
    )
    deployment_info = gauge(
        "orchestrator_deployment_info{environment,version,commit}", "Always 1, for the last deployment that succeeded."
    )
