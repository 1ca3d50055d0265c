"""The checks that the environment's settings ask for, run once on this machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from ordinaut_ext_observability.background.daemon_threads import run_on_own_loop
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import load_settings
from ordinaut_ext_observability.web.health_report import everything

_CPU_SECONDS = 1.0


def check_here() -> dict[str, Any]:
    """The health report of this machine, in the shape a running service gives it."""
    settings = load_settings()
    # The report says it all: no log lines beside it.
    runtime = Runtime(replace(settings, logs=settings.logs.model_copy(update={"level": "CRITICAL"})))

    async def run() -> None:
        runtime.health_monitor.unregister_check("event_loop")  # there is no host's
        await asyncio.sleep(_CPU_SECONDS)  # what the CPU is doing shows over time only
        await runtime.health_monitor.run_all_checks()

    run_on_own_loop(run())
    runtime.lifecycle.mark_started()
    report = everything(runtime.health_monitor, runtime.lifecycle)
    return {
        **{name: value for name, value in report.items() if name not in ("live", "ready")},
        "note": "These are the checks of this machine. Give a URL to ask a running service.",
    }
