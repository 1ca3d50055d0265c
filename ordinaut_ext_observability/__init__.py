"""In-app observability for Ordinaut.

Importing this package imports nothing else; each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ordinaut_ext_observability.correlation.context import (
        RequestContext,
        current_correlation_id,
        current_traceparent,
    )
    from ordinaut_ext_observability.extension import get_extension, mount
    from ordinaut_ext_observability.health.model import HealthCheck, HealthStatus
    from ordinaut_ext_observability.health.monitor import HealthMonitor
    from ordinaut_ext_observability.runtime.current import (
        configure_logging,
        current_runtime,
        get_logger,
        instrument_connection,
        instrument_pool,
        monitor_execution,
        restore_logging,
    )
    from ordinaut_ext_observability.version import __version__

__all__ = [
    "HealthCheck",
    "HealthMonitor",
    "HealthStatus",
    "RequestContext",
    "__version__",
    "configure_logging",
    "current_correlation_id",
    "current_runtime",
    "current_traceparent",
    "get_extension",
    "get_logger",
    "instrument_connection",
    "instrument_pool",
    "monitor_execution",
    "mount",
    "restore_logging",
]

_HOMES = {
    "HealthCheck": "health.model",
    "HealthMonitor": "health.monitor",
    "HealthStatus": "health.model",
    "RequestContext": "correlation.context",
    "__version__": "version",
    "configure_logging": "runtime.current",
    "current_correlation_id": "correlation.context",
    "current_runtime": "runtime.current",
    "current_traceparent": "correlation.context",
    "get_extension": "extension",
    "get_logger": "runtime.current",
    "instrument_connection": "runtime.current",
    "instrument_pool": "runtime.current",
    "monitor_execution": "runtime.current",
    "mount": "extension",
    "restore_logging": "runtime.current",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
