"""The shape of the host's lean app: no database, no security layer, no request ids."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.demo.standin_host.discovery import ExtensionSpec
from ordinaut_ext_observability.demo.standin_host.loader import ExtensionLoader
from ordinaut_ext_observability.demo.standin_host.status_routes import build_status_router


def create_lean_app(*, extra_specs: Iterable[ExtensionSpec] = (), environ: Mapping[str, str] | None = None) -> FastAPI:
    """An app with its eager extensions loaded; the process environment is read unless `environ` is given."""
    # Event handlers run only in an app without a lifespan of its own, and Starlette 1 has none.
    lifespan = None if hasattr(FastAPI, "add_event_handler") else _run_hooks
    app = FastAPI(title="Ordinaut stand-in (lean)", lifespan=lifespan)
    loader = ExtensionLoader(app, extra_specs=extra_specs, environ=environ)
    app.state.extension_loader = loader

    @app.get("/health")
    async def show_health() -> dict[str, str]:
        return {"status": "ok"}

    loader.load_eager()
    app.include_router(build_status_router(loader))

    async def count_extension_requests(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await _count(loader, request, call_next)

    # Added after the extensions' own, so that it is outermost.
    app.add_middleware(BaseHTTPMiddleware, dispatch=count_extension_requests)
    return app


async def _count(loader: ExtensionLoader, request: Request, call_next: RequestResponseEndpoint) -> Response:
    plugin_id = loader.find(request.url.path)
    if plugin_id is None:
        return await call_next(request)
    if plugin_id not in loader.loaded:
        # Whatever comes of it: an extension that cannot be loaded redirects to itself for ever.
        loader.ensure_loaded(plugin_id)
        return RedirectResponse(str(request.url), status_code=307)
    totals = loader.totals[plugin_id]
    started_seconds = monotonic_seconds()
    try:
        return await call_next(request)
    except Exception:
        totals.errors_total += 1
        raise
    finally:
        totals.requests_total += 1
        totals.latency_ms_sum += (monotonic_seconds() - started_seconds) * 1000


@asynccontextmanager
async def _run_hooks(app: FastAPI) -> AsyncIterator[None]:
    loader: ExtensionLoader = app.state.extension_loader
    await loader.run_startup_hooks()
    yield
    await loader.run_shutdown_hooks()
