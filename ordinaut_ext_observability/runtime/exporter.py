"""Metrics and probes of a process that serves no HTTP itself: a worker, a scheduler."""

from __future__ import annotations

import threading

from ordinaut_ext_observability.runtime.process import Runtime


def export_once(runtime: Runtime) -> None:
    """Open the exporter's port where the settings ask for one and no application serves the metrics.

    Returns at once: what it takes to serve HTTP is imported in a thread, since the caller is at its work.
    """
    if runtime.lifecycle.mounted or runtime.settings.general.disabled or not runtime.ports.claim_exporter():
        return
    runtime.start()  # says which settings could not be used
    if runtime.settings.management.exporter_port is not None:
        threading.Thread(target=_open, args=(runtime,), name="observability-exporter-start", daemon=True).start()


def _open(runtime: Runtime) -> None:
    try:
        from ordinaut_ext_observability.runtime.serving import make_exporter

        runtime.lifecycle.started = True
        exporter = make_exporter(runtime)
        if not runtime.lifecycle.mounted:  # or an application was mounted meanwhile, and serves the metrics
            runtime.ports.open_exporter(exporter)
    except Exception:  # noqa: BLE001 - the process goes on without its metrics being served
        runtime.metrics.count_internal_error("exporter")
