"""A runtime in the host's application: the layer around it, the endpoints in it, and their life with it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.types import Scope

from ordinaut_ext_observability.background.daemon_threads import DaemonExecutor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.runtime.current import release
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.runtime.serving import make_context, make_management_server
from ordinaut_ext_observability.version import __version__
from ordinaut_ext_observability.web.access import AddressList
from ordinaut_ext_observability.web.middleware import ObservabilityMiddleware
from ordinaut_ext_observability.web.mounting import Mounting, RootMetrics
from ordinaut_ext_observability.web.recorder import RequestRecorder
from ordinaut_ext_observability.web.request_ids import RequestIdReader
from ordinaut_ext_observability.web.route_templates import EndpointResolver
from ordinaut_ext_observability.web.router import build_router, root_metrics_route

_STOP_SECONDS = 1.0
"""Longest wait at the host's stop. A runtime stops sooner; this is for a machine that does not let it."""

ROOT_METRICS_PATH = "/metrics"


class HostIntegration:
    """One application measured, and its endpoints."""

    def __init__(self, runtime: Runtime, app: FastAPI, mount_path: str) -> None:
        """Nothing is attached to the application yet."""
        self._runtime = runtime
        self._mount_path = mount_path
        http, metrics = runtime.settings.http, runtime.metrics
        self._recorder = RequestRecorder(
            metrics,
            runtime.logs.access_log,
            RequestIdReader(AddressList(http.trust_request_ids_from), metrics, runtime.logs.event),
            EndpointResolver(app),
            runtime.trouble,
            http,
            quiet_endpoints=runtime.settings.logs.access_log_quiet_endpoints,
            is_own=self._is_own,
        )
        in_flight = weakref.WeakMethod(self._recorder.requests_in_flight)  # a thread must not lead to the application
        runtime.stalls.requests_in_flight = lambda: (alive := in_flight()) and alive()
        runtime.tracing.recorder = weakref.ref(self._recorder)  # it leads to the application
        # Started with the first request where the server sent no lifespan.
        self._mounting = Mounting(app, lambda inner: ObservabilityMiddleware(inner, self._recorder, self._start))
        self._root_metrics: RootMetrics | None = None
        self._endpoint_context = make_context(runtime, runtime.merged.shown_registry, self._overview)

    def router(self) -> APIRouter:
        """A router with all our endpoints, for the host to include under the mount path."""
        return build_router(self._endpoint_context, operator=True)

    def attach(self, app: FastAPI) -> None:
        """Take our place around the application. Called once, when everything else has succeeded."""
        runtime = self._runtime
        if runtime.settings.management.port is not None:
            runtime.ports.management = make_management_server(runtime, self._endpoint_context, self._mount_path)
        self._mounting.attach()
        if not self._mounting.late:
            self._wrap_lifespan(app)
        if runtime.settings.metrics.root_metrics:
            self._root_metrics = RootMetrics(app, root_metrics_route(self._endpoint_context, ROOT_METRICS_PATH))
        # What is reached from threads and from the process's exit (the runtime) must not lead to the application.
        weakref.finalize(app, _release_soon, runtime).atexit = False
        runtime.lifecycle.mounted = True
        runtime.ports.close_exporter()
        if self._mounting.late:  # the host's requests go through us already
            self._start()

    async def shut_down(self) -> None:
        """End what runs for the host, which goes down. A host may also never say so."""
        with self._counting_failure("stop"):
            self._runtime.lifecycle.stopping = True
            self._runtime.lifecycle.stop_watching()
            # In a thread: it waits for threads, and the host's loop has its own things to end. In one of ours: the
            # loop's own may be busy with the host's work.
            stopping = asyncio.get_running_loop().run_in_executor(DaemonExecutor(), self._runtime.stop)
            await asyncio.wait_for(asyncio.shield(stopping), _STOP_SECONDS)

    def _wrap_lifespan(self, app: FastAPI) -> None:
        original = app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[Any]:
            self._mounting.wrap_built_stack()
            with self._counting_failure("start"):
                self._runtime.lifecycle.stopping = False
                self._runtime.start()
            try:
                async with original(app) as state:
                    self._start()
                    self._runtime.logs.configure_if_asked()  # again: the host may have set up its own logging
                    yield state
            finally:
                await self.shut_down()

        app.router.lifespan_context = lifespan

    def _start(self) -> None:
        """Start what is not running yet: the host has started."""
        self._runtime.lifecycle.started = True
        with self._counting_failure("start"):
            self._runtime.start()

    @contextlib.contextmanager
    def _counting_failure(self, step: str) -> Iterator[None]:
        """Keep a failure of ours from the host's start and stop."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the host
            self._runtime.metrics.count_internal_error(step)
            self._runtime.logs.event(events.STEP_FAILED, step=step, exception_type=type(error).__name__)

    def _is_own(self, endpoint: str) -> bool:
        if endpoint == ROOT_METRICS_PATH:
            return self._root_metrics is not None and self._root_metrics.answered is True
        return endpoint.startswith(f"{self._mount_path}/")

    def _overview(self, scope: Scope) -> dict[str, Any]:
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
            **self._runtime.notes(),
            "settings_problems": [problem._asdict() for problem in self._runtime.settings.problems],
        }


def _release_soon(runtime: Runtime) -> None:
    """End what a runtime did for an application that is gone: in a thread, since a collection may come anywhere."""
    with contextlib.suppress(RuntimeError):  # the system has no more threads, or the process ends
        threading.Thread(target=release, args=(runtime,), name="observability-release", daemon=True).start()
