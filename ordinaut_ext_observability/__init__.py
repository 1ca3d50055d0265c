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
    "correlation.context": ("RequestContext", "current_correlation_id", "current_traceparent"),
    "extension": ("get_extension", "mount"),
    "health.model": ("HealthCheck", "HealthStatus"),
    "health.monitor": ("HealthMonitor",),
    "version": ("__version__",),
}
"""The modules of the names; all others are in `runtime.current`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "runtime.current")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
