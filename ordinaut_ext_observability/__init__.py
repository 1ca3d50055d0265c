"""In-app observability for Ordinaut.

Importing this package imports nothing else; each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.manager import Alert as Alert
    from ordinaut_ext_observability.alerts.manager import AlertManager as AlertManager
    from ordinaut_ext_observability.alerts.manager import AlertRule as AlertRule
    from ordinaut_ext_observability.alerts.manager import AlertSeverity as AlertSeverity
    from ordinaut_ext_observability.alerts.manager import AlertStatus as AlertStatus
    from ordinaut_ext_observability.alerts.manager import database_connectivity_rule as database_connectivity_rule
    from ordinaut_ext_observability.alerts.manager import high_queue_depth_rule as high_queue_depth_rule
    from ordinaut_ext_observability.alerts.manager import slack_notification as slack_notification
    from ordinaut_ext_observability.alerts.manager import task_failure_rate_rule as task_failure_rate_rule
    from ordinaut_ext_observability.compat.logging import log_security_event as log_security_event
    from ordinaut_ext_observability.compat.maintenance import MaintenanceMode as MaintenanceMode
    from ordinaut_ext_observability.correlation.context import RequestContext as RequestContext
    from ordinaut_ext_observability.correlation.context import current_correlation_id as current_correlation_id
    from ordinaut_ext_observability.correlation.context import current_traceparent as current_traceparent
    from ordinaut_ext_observability.extension import get_extension as get_extension
    from ordinaut_ext_observability.extension import mount as mount
    from ordinaut_ext_observability.health.model import HealthCheck as HealthCheck
    from ordinaut_ext_observability.health.model import HealthStatus as HealthStatus
    from ordinaut_ext_observability.health.monitor import HealthMonitor as HealthMonitor
    from ordinaut_ext_observability.profiling.calls import profile_execution as profile_execution
    from ordinaut_ext_observability.runtime.current import configure_logging as configure_logging
    from ordinaut_ext_observability.runtime.current import current_runtime as current_runtime
    from ordinaut_ext_observability.runtime.current import get_logger as get_logger
    from ordinaut_ext_observability.runtime.current import instrument_client as instrument_client
    from ordinaut_ext_observability.runtime.current import instrument_connection as instrument_connection
    from ordinaut_ext_observability.runtime.current import instrument_pool as instrument_pool
    from ordinaut_ext_observability.runtime.current import monitor_execution as monitor_execution
    from ordinaut_ext_observability.runtime.current import restore_logging as restore_logging
    from ordinaut_ext_observability.scrub.text import LogSanitizer as LogSanitizer
    from ordinaut_ext_observability.version import __version__ as __version__

_HOMES = {
    "alerts.manager": (
        *("Alert", "AlertManager", "AlertRule", "AlertSeverity", "AlertStatus"),
        *("database_connectivity_rule", "high_queue_depth_rule", "slack_notification", "task_failure_rate_rule"),
    ),
    "compat.logging": ("log_security_event",),
    "compat.maintenance": ("MaintenanceMode",),
    "correlation.context": ("RequestContext", "current_correlation_id", "current_traceparent"),
    "extension": ("get_extension", "mount"),
    "health.model": ("HealthCheck", "HealthStatus"),
    "health.monitor": ("HealthMonitor",),
    "profiling.calls": ("profile_execution",),
    "runtime.current": (
        *("configure_logging", "current_runtime", "get_logger", "instrument_client", "instrument_connection"),
        *("instrument_pool", "monitor_execution", "restore_logging"),
    ),
    "scrub.text": ("LogSanitizer",),
    "version": ("__version__",),
}
"""The public names by the module that has them."""

__all__ = sorted(name for names in _HOMES.values() for name in names)  # noqa: PLE0605 - a list, as it must be


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
