"""Our endpoints and our own ports, put together from the parts of a runtime."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.types import Scope

from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.manifest import MOUNT_PATH
from ordinaut_ext_observability.metrics.foreign import ForeignMetrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.web.access import AccessControl
from ordinaut_ext_observability.web.endpoints.base import EndpointContext
from ordinaut_ext_observability.web.endpoints.metrics import ScrapeService
from ordinaut_ext_observability.web.queries import QueryService
from ordinaut_ext_observability.web.router import build_router

if TYPE_CHECKING:  # importing a server takes long, and few processes have a port of their own; the page takes templates
    from ordinaut_ext_observability.web.management import ManagementServer
    from ordinaut_ext_observability.web.page.page import StatusPage

_EXPORTER_PORTS_TO_TRY = 10
"""Ports from the exporter's on: several workers on one machine have the same settings."""


def make_context(
    runtime: Runtime,
    shown: Callable[[], Awaitable[Registry]],
    overview: Callable[[Scope], dict[str, Any]] = lambda _: {},
) -> EndpointContext:
    """The context of one router: its scrapes, of the registry that `shown` gives, belong to the loop that serves it."""
    metrics = runtime.metrics
    foreign = ForeignMetrics(
        reserved_names=metrics.registry.names,
        on_clash=lambda name: metrics.metric_clashes.labels(name).inc(),
        on_error=lambda _: metrics.count_internal_error("foreign_metrics"),
        multiprocess_dir=runtime.settings.metrics.multiprocess_dir,
    )

    def kept_history() -> History | None:
        return runtime.history.history if runtime.lifecycle.mounted and runtime.settings.history.enabled else None

    pages: list[StatusPage] = []

    def status_page() -> StatusPage:
        if not pages:
            with forks_held_off():  # which one thread at a time does
                from ordinaut_ext_observability.web.page.page import StatusPage  # once somebody looks

                pages[:] = pages or [StatusPage(runtime.clock)]
        return pages[0]

    return EndpointContext(
        lifecycle=runtime.lifecycle,
        scrapes=ScrapeService(metrics, foreign, shown, runtime.alerts.series),
        queries=QueryService(metrics, (metrics.registry, runtime.merged.collected), kept_history, runtime.clock),
        alerts=lambda: runtime.alerts.rounds if runtime.lifecycle.mounted and runtime.alerts.enabled else None,
        desk=runtime.alerts.desk,
        trouble=runtime.trouble,
        deployments=runtime.deployments,
        access=AccessControl(runtime.settings.access, metrics, runtime.clock, runtime.logs.event),
        levels=runtime.levels,
        config=runtime.config,
        page=status_page,
        overview=overview,
        scrubber=runtime.scrubber,
    )


def make_management_server(runtime: Runtime, context: EndpointContext, mount_path: str) -> ManagementServer:
    """The port for scrapers and probes beside the host's own, whose endpoints answer from this context."""
    from ordinaut_ext_observability.web.management import ManagementServer

    management = runtime.settings.management
    context = replace(context, overview=lambda _: {})  # the thread must not lead to the application

    def make_router() -> APIRouter:
        foreign, merged = context.scrapes.foreign, runtime.merged
        scrapes = ScrapeService(runtime.metrics, foreign, merged.shown_registry, runtime.alerts.series)
        return build_router(replace(context, scrapes=scrapes), operator=False)

    return ManagementServer(make_router, host=management.host, port=management.port or 0, mount_path=mount_path)


def make_exporter(runtime: Runtime) -> ManagementServer:
    """The port of a process that serves no HTTP itself: all endpoints, about that process alone."""
    from ordinaut_ext_observability.web.management import ManagementServer

    async def own_registry() -> Registry:
        return runtime.metrics.registry

    management = runtime.settings.management
    return ManagementServer(
        lambda: build_router(make_context(runtime, own_registry), operator=True),
        host=management.exporter_host,
        port=management.exporter_port or 0,
        mount_path=MOUNT_PATH,
        ports_to_try=_EXPORTER_PORTS_TO_TRY,
        on_loop=runtime.health_monitor.start,
    )
