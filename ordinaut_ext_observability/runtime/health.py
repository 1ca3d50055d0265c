"""The monitor of a runtime: which checks there are, and where their results go besides the probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.checks.event_loop import EventLoopCheck
from ordinaut_ext_observability.health.checks.http_service import HttpServiceCheck
from ordinaut_ext_observability.health.checks.imported import ImportedCheck
from ordinaut_ext_observability.health.checks.resources import (
    CpuCheck,
    DiskCheck,
    FileDescriptorCheck,
    Limits,
    MemoryCheck,
    NetworkCheck,
)
from ordinaut_ext_observability.health.checks.task_success import TaskSuccessCheck
from ordinaut_ext_observability.health.loop_watch import LoopWatch
from ordinaut_ext_observability.health.model import UNKNOWN, Check, HealthCheck, HealthStatus, Outcome, Transition
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import GaugeChild
from ordinaut_ext_observability.settings.load import Settings

_EVENTS = {
    HealthStatus.HEALTHY: events.HEALTH_CHANGED["INFO"],
    HealthStatus.DEGRADED: events.HEALTH_CHANGED["WARNING"],
    HealthStatus.UNHEALTHY: events.HEALTH_CHANGED["ERROR"],
}


@dataclass(frozen=True, slots=True)
class _Reporting:
    """Results as metrics, transitions as log lines."""

    metrics: Metrics
    event: events.LogEvent

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
            _EVENTS[transition.after or HealthStatus.DEGRADED],
            check=name,
            status=after,
            previous_status=transition.before.value if transition.before is not None else None,
            reason=transition.message or None,
        )


def make_monitor(
    settings: Settings, metrics: Metrics, loop_watch: LoopWatch, clock: Clock, event: events.LogEvent
) -> HealthMonitor:
    """The monitor with the checks that the settings ask for."""
    reporting = _Reporting(metrics, event)
    monitor = HealthMonitor(
        period_seconds=settings.health.interval_seconds,
        deadline_seconds=settings.health.deadline_seconds,
        grace_seconds=settings.health.startup_grace_seconds,
        clock=clock,
        on_result=reporting.on_result,
        on_transition=reporting.on_transition,
        on_error=lambda: metrics.count_internal_error("health_monitor"),
    )
    metrics.registry.refresh_with(lambda: _show_statuses(monitor, metrics))
    _register_built_in(monitor, settings, metrics, loop_watch, clock)
    _register_from_file(monitor, settings)
    return monitor


def _register_built_in(
    monitor: HealthMonitor, settings: Settings, metrics: Metrics, loop_watch: LoopWatch, clock: Clock
) -> None:
    limits = Limits(degraded=0.9, unhealthy=0.98)
    makers: Mapping[str, Callable[[], Check]] = {
        "event_loop": lambda: EventLoopCheck(loop_watch),
        "cpu": lambda: CpuCheck(limits, clock),
        "memory": lambda: MemoryCheck(limits),
        "disk": lambda: DiskCheck(limits, settings.health.disk_paths),
        "file_descriptors": lambda: FileDescriptorCheck(Limits(degraded=0.8, unhealthy=0.95)),
        "network": lambda: NetworkCheck(Limits(degraded=0.01, unhealthy=0.1)),
        "task_success": lambda: TaskSuccessCheck(metrics.task_executions, clock),
    }
    for name, make in makers.items():
        if name not in settings.health.disabled_checks:
            try:
                check = make()
            except Exception:  # noqa: BLE001 - a system that does not tell, e.g. without /proc, has no such check
                metrics.count_internal_error("health_monitor")
                continue
            # A busy CPU comes and goes: it takes longer to be believed.
            failures = 4 if name == "cpu" else 2
            monitor.register_check(name, check, required=False, failures_to_worsen=failures)
    monitor.register_check("settings", lambda: _settings_outcome(settings), required=False)


def _register_from_file(monitor: HealthMonitor, settings: Settings) -> None:
    for entry in settings.file.health.http:
        statuses = frozenset(entry.expected_statuses) or frozenset(range(200, 400))
        check = HttpServiceCheck(
            str(entry.url),
            method=entry.method,
            headers=entry.headers,
            expected_statuses=statuses,
            timeout_seconds=entry.timeout_seconds,
            slow_seconds=entry.slow_seconds,
            verify_tls=entry.verify_tls,
        )
        monitor.register_check(entry.name, check, **_options(entry))
    for other in settings.file.health.callables:
        monitor.register_check(other.name, ImportedCheck(other.target), **_options(other))


def _options(entry: Any) -> dict[str, Any]:
    names = ("required", "timeout_seconds", "failures_to_worsen", "passes_to_recover")
    return {name: getattr(entry, name) for name in names}


def _settings_outcome(settings: Settings) -> Outcome:
    if not settings.problems:
        return Outcome(HealthStatus.HEALTHY)
    number = len(settings.problems)
    return Outcome(
        HealthStatus.DEGRADED,
        f"{number} setting{'' if number == 1 else 's'} could not be used; GET /config and `doctor` name them",
        {"variables": [problem.variable for problem in settings.problems]},
    )


def _show_statuses(monitor: HealthMonitor, metrics: Metrics) -> None:
    """Past the label's budget several checks share a series: it shows the worst of them."""
    family = metrics.health_status
    severities: dict[GaugeChild, int] = {}
    for check in monitor.report().checks:
        child = family.labels(check.name)
        severities[child] = max(check.status.severity, severities.get(child, 0))
    for child in family.children():
        if child in severities:
            child.set(severities[child])
        else:
            _forget_check(metrics, child.label_values[0])


def _forget_check(metrics: Metrics, shown_name: str) -> None:
    """A check that is gone has no series any more."""
    for family in (
        metrics.health_status,
        metrics.health_check_seconds,
        metrics.health_last_success,
        metrics.health_transitions,
    ):
        for label_values in [child.label_values for child in family.children()]:
            if label_values[0] == shown_name:
                family.remove(*label_values)
