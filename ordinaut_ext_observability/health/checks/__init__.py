"""The checks that come with the package: every module here makes some.

Each has a function `make_checks(parts)`, which yields a check's name, the check, and its `CheckOptions` as a dict.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import NamedTuple

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.loop_watch import LoopWatch
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.settings.load import Settings


class Parts(NamedTuple):
    """What a check may be made of."""

    settings: Settings
    metrics: Metrics
    loop_watch: LoopWatch
    clock: Clock


def register_checks(monitor: HealthMonitor, parts: Parts) -> None:
    """Have the monitor run the checks of all modules, without those that the settings leave out."""
    for module in pkgutil.iter_modules(__path__):
        try:
            for name, check, options in import_module(f"{__name__}.{module.name}").make_checks(parts):
                if name not in parts.settings.health.health_disabled_checks:
                    monitor.register_check(name, check, **options)
        except Exception:  # noqa: BLE001 - a system that does not tell, e.g. without /proc, has no such checks
            parts.metrics.count_internal_error("health_monitor")
