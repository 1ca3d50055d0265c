"""The monitor that the settings ask for: its checks, and where their results go besides the probes."""

from __future__ import annotations

import pkgutil
from functools import partial
from importlib import import_module
from typing import NamedTuple

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health import checks
from ordinaut_ext_observability.health.lifecycle import LoopWatch
from ordinaut_ext_observability.health.model import UNKNOWN, HealthCheck, HealthStatus, Transition
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.load import Settings

_EVENTS = {
    HealthStatus.HEALTHY: events.HEALTH_CHANGED["INFO"],
    HealthStatus.DEGRADED: events.HEALTH_CHANGED["WARNING"],
    HealthStatus.UNHEALTHY: events.HEALTH_CHANGED["ERROR"],
}


class CheckParts(NamedTuple):
    """The parts of a runtime of which checks are made."""

    settings: Settings
    metrics: Metrics
    loop_watch: LoopWatch
    clock: Clock


def make_monitor(parts: CheckParts, event: events.LogEvent) -> HealthMonitor:
    """The monitor with the checks that the settings ask for."""
    health, metrics = parts.settings.health, parts.metrics
    monitor = HealthMonitor(
        period_seconds=health.interval_seconds,
        deadline_seconds=health.deadline_seconds,
        grace_seconds=health.startup_grace_seconds,
        clock=parts.clock,
        on_result=partial(_count_result, metrics),
        on_transition=partial(_tell_transition, metrics, event),
        on_error=partial(metrics.count_internal_error, "health_monitor"),
    )
    metrics.registry.refresh_with(partial(_show_statuses, monitor, metrics))
    _register_checks(monitor, parts)
    return monitor


def _register_checks(monitor: HealthMonitor, parts: CheckParts) -> None:
    """Have the monitor run the checks of all modules, without those that the settings leave out."""
    for module in pkgutil.iter_modules(checks.__path__):
        try:
            for name, check, options in import_module(f"{checks.__name__}.{module.name}").make_checks(parts):
                if name not in parts.settings.health.disabled_checks:
                    monitor.register_check(name, check, **options)
        except Exception:  # noqa: BLE001 - a system that does not tell, e.g. without /proc, has no such checks
            parts.metrics.count_internal_error("health_monitor")


def _count_result(metrics: Metrics, check: HealthCheck) -> None:
    metrics.health_check_seconds.labels(check.name).observe(check.duration_ms / 1000)
    if check.known and check.status is not HealthStatus.UNHEALTHY:
        ended = check.checked_at.timestamp() + check.duration_ms / 1000
        metrics.health_last_success.labels(check.name).set(round(ended, 3))


def _tell_transition(metrics: Metrics, event: events.LogEvent, name: str, transition: Transition) -> None:
    after = transition.after.value if transition.after is not None else UNKNOWN
    metrics.health_transitions.labels(name, after).inc()
    if transition.before is not None or transition.after is not HealthStatus.HEALTHY:  # else well from the start
        event(
            _EVENTS[transition.after or HealthStatus.DEGRADED],
            check=name,
            status=after,
            previous_status=transition.before.value if transition.before is not None else None,
            reason=transition.message or None,
        )


def _show_statuses(monitor: HealthMonitor, metrics: Metrics) -> None:
    """Past the label's budget several checks share a series: the last one set, the worst, is shown."""
    checks = sorted(monitor.report().checks, key=lambda check: check.status.severity)
    metrics.health_status.replace({(check.name,): check.status.severity for check in checks})
