"""The monitor of a runtime, and where its results go besides the probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ordinaut_ext_observability.health.checks import Parts, register_checks
from ordinaut_ext_observability.health.model import UNKNOWN, HealthCheck, HealthStatus, Transition
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import GaugeChild

Event = Callable[..., None]

_LEVELS = {HealthStatus.HEALTHY: "INFO", HealthStatus.DEGRADED: "WARNING", HealthStatus.UNHEALTHY: "ERROR"}


def make_monitor(parts: Parts, event: Event) -> HealthMonitor:
    """The monitor with the checks that the settings ask for."""
    health, metrics = parts.settings.health, parts.metrics
    reporting = _Reporting(metrics, event)
    monitor = HealthMonitor(
        period_seconds=health.health_interval_seconds,
        deadline_seconds=health.health_deadline_seconds,
        grace_seconds=health.health_startup_grace_seconds,
        clock=parts.clock,
        on_result=reporting.on_result,
        on_transition=reporting.on_transition,
        on_error=lambda: metrics.count_internal_error("health_monitor"),
    )
    metrics.registry.refresh_with(lambda: _show_statuses(monitor, metrics))
    register_checks(monitor, parts)
    return monitor


@dataclass(frozen=True, slots=True)
class _Reporting:
    """Results as metrics, transitions as log lines."""

    metrics: Metrics
    event: Event

    def on_result(self, check: HealthCheck) -> None:
        self.metrics.health_check_seconds.labels(check.name).observe(check.duration_ms / 1000)
        if check.known and check.status is not HealthStatus.UNHEALTHY:
            ended = check.checked_at.timestamp() + check.duration_ms / 1000
            self.metrics.health_last_success.labels(check.name).set(round(ended, 3))

    def on_transition(self, name: str, transition: Transition) -> None:
        after = transition.after.value if transition.after is not None else UNKNOWN
        self.metrics.health_transitions.labels(name, after).inc()
        if transition.before is None and transition.after is HealthStatus.HEALTHY:
            return  # all is well from the start: nothing to tell
        self.event(
            _LEVELS[transition.after or HealthStatus.DEGRADED],
            "health changed",
            "health_transition",
            check=name,
            status=after,
            previous_status=transition.before.value if transition.before is not None else None,
            reason=transition.message or None,
        )


def _show_statuses(monitor: HealthMonitor, metrics: Metrics) -> None:
    """Past the label's budget several checks share a series: it shows the worst of them."""
    severities: dict[GaugeChild, int] = {}
    for check in monitor.report().checks:
        child = metrics.health_status.labels(check.name)
        severities[child] = max(check.status.severity, severities.get(child, 0))
    for child, severity in severities.items():
        child.set(severity)
    metrics.health_status.keep_only(severities)
