"""The HTTP face of a runtime: the layer around the host's application, and the router it includes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp, Scope

from ordinaut_ext_observability.health.threads import DaemonThreads
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.runtime.current import release
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.runtime.surface import make_surface
from ordinaut_ext_observability.version import __version__
from ordinaut_ext_observability.web.access import AccessControl
from ordinaut_ext_observability.web.addresses import AddressList
from ordinaut_ext_observability.web.exchange import Observer
from ordinaut_ext_observability.web.management import ManagementServer
from ordinaut_ext_observability.web.middleware import ObservabilityMiddleware
from ordinaut_ext_observability.web.mounting import Mounting
from ordinaut_ext_observability.web.recorder import RequestRecorder
from ordinaut_ext_observability.web.request_ids import RequestIdReader
from ordinaut_ext_observability.web.root_metrics import RootMetrics
from ordinaut_ext_observability.web.route_templates import EndpointResolver
from ordinaut_ext_observability.web.router import build_router, root_metrics_route

_ID_WARNING_SECONDS = 60.0
_STOP_SECONDS = 1.0
"""A runtime stops sooner; this is for a machine that does not let it."""

ROOT_METRICS_PATH = "/metrics"


class HttpFace:
    """One application measured, and its endpoints."""

    def __init__(self, runtime: Runtime, app: FastAPI, mount_path: str) -> None:
        """Nothing is attached to the application yet."""
        self._runtime = runtime
        self._mount_path = mount_path
        self._id_warning_due_at = 0.0
        self._observer = self._make_observer(app)
        self._mounting = Mounting(
            app,
            self._wrap,
            on_start=self._start,
            on_started=self._started,
            on_stop=self._stop,
        )
        self._root_metrics: RootMetrics | None = None
        self._access = AccessControl(runtime.settings.access, runtime.metrics, runtime.clock, runtime.access_refused)
        self._surface = make_surface(runtime, self._access, runtime.sources.shown_registry, self._overview)

    def router(self) -> APIRouter:
        """A router with all our endpoints, for the host to include under the mount path."""
        return build_router(self._surface, operator=True)

    def attach(self, app: FastAPI) -> None:
        """Take our place around the application. Called once, when everything else has succeeded."""
        runtime = self._runtime
        if runtime.settings.management.port is not None:
            runtime.serve_management(_make_management_server(runtime, self._access, self._mount_path))
        self._mounting.attach()
        if runtime.settings.metrics.root_metrics:
            self._root_metrics = RootMetrics(app, root_metrics_route(self._surface, ROOT_METRICS_PATH))
        # What is reached from threads and from the process's exit (the runtime) must not lead to the application.
        weakref.finalize(app, _release_soon, runtime).atexit = False
        runtime.mounted = True
        runtime.close_exporter()
        if self._mounting.late:
            try:
                runtime.start()
            except Exception as error:  # noqa: BLE001 - the host's requests go through us already
                self._failed("start", error)
            runtime.lifecycle.mark_started()

    async def shut_down(self) -> None:
        """The host says it is going down; it may also never say so."""
        await self._stop()

    def _wrap(self, inner: ASGIApp) -> ASGIApp:
        return ObservabilityMiddleware(inner, self._observer, on_first_request=self._first_request)

    def _first_request(self) -> None:
        """Start where the server sent no lifespan; a host that answers requests has started."""
        self._runtime.start()
        self._runtime.lifecycle.mark_started()

    def _started(self) -> None:
        """The host has started, and perhaps set up its own logging meanwhile."""
        self._runtime.lifecycle.mark_started()
        try:
            self._runtime.sources.start()
        except Exception as error:  # noqa: BLE001 - the host has started, and answers
            self._failed("start", error)
        if self._runtime.settings.logs.configure_logging:
            self._runtime.logging.configure()

    async def _start(self) -> None:
        try:
            self._runtime.lifecycle.mark_starting()
            self._runtime.start()
        except Exception as error:  # noqa: BLE001 - our failure must not keep the host from starting
            self._failed("start", error)

    async def _stop(self) -> None:
        try:
            self._runtime.lifecycle.mark_stopping()
            self._runtime.stop_on_loop()
            # In a thread: it waits for threads, and the host's loop has its own things to end. In one of ours: the
            # loop's own may be busy with the host's work.
            await asyncio.wait_for(asyncio.shield(DaemonThreads(1).run(self._runtime.stop)), _STOP_SECONDS)
        except Exception as error:  # noqa: BLE001 - our failure must not fail the host's shutdown
            self._failed("stop", error)

    def _failed(self, what: str, error: Exception) -> None:
        self._runtime.metrics.count_internal_error(what)
        self._runtime.event(events.STEP_FAILED, step=what, exception_type=type(error).__name__)

    def _make_observer(self, app: FastAPI) -> Observer:
        runtime = self._runtime
        http = runtime.settings.http
        id_reader = RequestIdReader(AddressList(http.trust_request_ids_from), self._on_id_rejected)
        access_log: AccessLog = runtime.make_access_log()
        recorder = RequestRecorder(
            runtime.metrics,
            access_log,
            id_reader,
            is_own=self._is_own,
            measured=http.enabled,
            measures_own=http.include_own_endpoints,
            excluded_endpoints=http.exclude_endpoints,
            quiet_endpoints=runtime.settings.logs.access_log_quiet_endpoints,
        )
        return Observer(
            metrics=runtime.metrics,
            id_reader=id_reader,
            endpoints=EndpointResolver(app),
            recorder=recorder,
            in_progress=recorder.in_progress,
            waiting=recorder.waiting,
            server_timing=http.server_timing,
        )

    def _is_own(self, endpoint: str) -> bool:
        if endpoint == ROOT_METRICS_PATH:
            return self._root_metrics is not None and self._root_metrics.answered is True
        return endpoint.startswith(f"{self._mount_path}/")

    def _overview(self, scope: Scope) -> dict[str, Any]:
        settings = self._runtime.settings
        if self._root_metrics is None:
            root_metrics = "off: ORDINAUT_OBS_ROOT_METRICS is false"
        else:
            root_metrics = "on" if self._root_metrics.is_open(scope) else "off: the host answers that path itself"
        return {
            "version": __version__,
            "mount_path": self._mount_path,
            "health": self._runtime.health_monitor.report().status.value,
            "loaded": "lazily: requests before the first to this path were not measured"
            if self._mounting.late
            else "eagerly",
            "root_metrics": root_metrics,
            "management_port": self._runtime.management_note(),
            **self._runtime.sources.notes(),
            "settings_problems": [asdict(problem) for problem in settings.problems],
        }

    def _on_id_rejected(self, reason: str, length: int) -> None:
        runtime = self._runtime
        runtime.metrics.request_ids_rejected.labels(reason).inc()
        now = runtime.clock.monotonic()
        if reason != "untrusted_address" and now >= self._id_warning_due_at:
            self._id_warning_due_at = now + _ID_WARNING_SECONDS
            runtime.event(events.REQUEST_ID_REJECTED, reason=reason, length=length)


def _make_management_server(runtime: Runtime, access: AccessControl, mount_path: str) -> ManagementServer:
    management = runtime.settings.management
    return ManagementServer(
        lambda: build_router(make_surface(runtime, access, runtime.sources.shown_registry), operator=False),
        host=management.host,
        port=management.port or 0,
        mount_path=mount_path,
    )


def _release_soon(runtime: Runtime) -> None:
    """End what a runtime did for an application that is gone: in a thread, since a collection may come anywhere."""
    with contextlib.suppress(RuntimeError):  # the system has no more threads, or the process ends
        threading.Thread(target=release, args=(runtime,), name="observability-release", daemon=True).start()
