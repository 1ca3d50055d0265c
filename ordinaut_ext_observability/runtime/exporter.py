"""Metrics and probes of a process that serves no HTTP itself: a worker, a scheduler."""

from __future__ import annotations

import threading

from ordinaut_ext_observability.manifest import MOUNT_PATH
from ordinaut_ext_observability.runtime.process import Runtime

PORTS_TO_TRY = 10


def export_once(runtime: Runtime) -> None:
    """Open the exporter's port where the settings ask for one and no application serves the metrics.

    Returns at once: what it takes to serve HTTP is imported in a thread, since the caller is at its work.
    """
    if runtime.mounted or runtime.settings.general.disabled or not runtime.claim_exporter():
        return
    runtime.start()  # says which settings could not be used
    if runtime.settings.management.exporter_port is not None:
        threading.Thread(target=_open, args=(runtime,), name="observability-exporter-start", daemon=True).start()


def _open(runtime: Runtime) -> None:
    try:
        from ordinaut_ext_observability.runtime.surface import make_surface
        from ordinaut_ext_observability.web.access import AccessControl
        from ordinaut_ext_observability.web.management import ManagementServer
        from ordinaut_ext_observability.web.router import build_router

        settings = runtime.settings
        access = AccessControl(settings.access, runtime.metrics, runtime.clock, runtime.access_refused)
        surface = make_surface(runtime, access, runtime.own_registry)
        runtime.lifecycle.mark_started()
        runtime.serve_exporter(
            ManagementServer(
                lambda: build_router(surface, operator=True),
                host=settings.management.exporter_host,
                port=settings.management.exporter_port or 0,
                mount_path=MOUNT_PATH,
                ports_to_try=PORTS_TO_TRY,
                on_loop=runtime.health_monitor.start,
            )
        )
    except Exception:  # noqa: BLE001 - the process goes on without its metrics being served
        runtime.metrics.count_internal_error("exporter")
