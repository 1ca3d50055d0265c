"""Metrics of deployments."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import MetricSet, counter, gauge


class ReleaseMetrics(MetricSet, title="Deployments"):
    """Deployments that were posted, or that processes started with; every process shows the last one."""

    deployments = counter(
        "orchestrator_deployments_total{environment,outcome}", "Deployments by outcome: success or failed."
    )
    deployment_time = gauge(
        "orchestrator_deployment_last_timestamp_seconds{environment}",
        "When the last deployment was reported, in seconds since 1970.",
    )
    deployment_seconds = gauge(
        "orchestrator_deployment_last_duration_seconds{environment}",
        "How long the last deployment took; absent where it was not said.",
    )
    deployment_coverage = gauge(
        "orchestrator_deployment_last_test_coverage_ratio{environment}",
        "Test coverage of the last deployment, 0 to 1; absent where it was not said.",
    )
    deployment_info = gauge(
        "orchestrator_deployment_info{environment,version,commit}",
        "Always 1; the labels are those of the last deployment that succeeded.",
    )
