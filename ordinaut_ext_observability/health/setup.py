"""The monitor that the settings ask for: its checks, and where their results go besides the probes."""

from __future__ import annotations

from functools import partial

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.checks import make_checks
from ordinaut_ext_observability.health.lifecycle import LoopWatch
from ordinaut_ext_observability.health.model import UNKNOWN, HealthCheck, HealthStatus, Transition
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.load import Settings

_LEVELS = ("INFO", "WARNING", "ERROR")
"""Levels of the lines that tell a change of health, by severity."""


def make_monitor(
    settings: Settings, metrics: Metrics, loop_watch: LoopWatch, clock: Clock, event: events.LogEvent
) -> HealthMonitor:
    """The monitor with all checks but those that the settings leave out."""
    health = settings.health
    count_error = partial(metrics.count_internal_error, "health_monitor")
    monitor = HealthMonitor(
        period_seconds=health.interval_seconds,
        deadline_seconds=health.deadline_seconds,
        grace_seconds=health.startup_grace_seconds,
        clock=clock,
        on_result=partial(_note_result, metrics, event),
        on_error=count_error,
    )
    metrics.registry.refresh_with(partial(_show_statuses, monitor, metrics))
    try:
        for name, check, options in make_checks(settings, metrics, loop_watch, clock):
            if name not in health.disabled_checks:
                monitor.register_check(name, check, **options)
    except Exception:  # noqa: BLE001 - a system that does not tell, e.g. without /proc, has no such checks
        count_error()
    return monitor


def _note_result(metrics: Metrics, event: events.LogEvent, result: HealthCheck, transition: Transition | None) -> None:
    name, seconds = result.name, result.duration_ms / 1000
    metrics.health_check_seconds.labels(name).observe(seconds)
    if result.known and result.status is not HealthStatus.UNHEALTHY:
        metrics.health_last_success.labels(name).set(round(result.checked_at.timestamp() + seconds, 3))
    if transition is None:
        return
    before, after = transition.before, transition.after
    status = after.value if after is not None else UNKNOWN
    metrics.health_transitions.labels(name, status).inc()
    if before is not None or after is not HealthStatus.HEALTHY:  # else well from the start
        event(
            events.HEALTH_CHANGED[_LEVELS[(after or HealthStatus.DEGRADED).severity]],
            check=name,
            status=status,
            previous_status=before.value if before is not None else None,
            reason=transition.message or None,
        )


def _show_statuses(monitor: HealthMonitor, metrics: Metrics) -> None:
    """Past the label's budget several checks share a series: the last one set, the worst, is shown."""
    checks = sorted(monitor.report().checks, key=lambda check: check.status.severity)
    metrics.health_status.replace({(check.name,): check.status.severity for check in checks})
