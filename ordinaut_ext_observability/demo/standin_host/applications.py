"""The two applications of the host, with the defects that extensions meet in them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.demo.standin_host.loader import ExtensionLoader
from ordinaut_ext_observability.demo.standin_host.specs import ExtensionSpec

_TRUSTED_HOSTS = ["localhost", "127.0.0.1", "*.example.com"]


def create_lean_app(*, extra_specs: Iterable[ExtensionSpec] = (), environ: Mapping[str, str] | None = None) -> FastAPI:
    """The lean app, without request ids or security, its eager extensions loaded.

    The process environment is read unless `environ` is given.
    """

    @asynccontextmanager
    async def run_hooks(app: FastAPI) -> AsyncIterator[None]:
        for extension in list(loader.loaded.values()):
            if hasattr(extension, "on_startup"):
                await extension.on_startup(app)
        yield
        for extension in loader.loaded.values():
            if hasattr(extension, "on_shutdown"):
                await extension.on_shutdown(app)

    async def load_lazily(request: Request, call_next: RequestResponseEndpoint) -> Response:
        plugin_id = loader.missing_for(request.url.path)
        if plugin_id is None:
            return await call_next(request)
        # Whatever comes of it: an extension that cannot be loaded redirects to itself for ever.
        loader.ensure_loaded(plugin_id)
        return RedirectResponse(str(request.url), status_code=307)

    app = FastAPI(title="Ordinaut stand-in (lean)", lifespan=run_hooks)
    loader = app.state.extension_loader = ExtensionLoader(app, extra_specs, environ)
    app.add_api_route("/health", lambda: {"status": "ok"})
    loader.load_eager()
    _add_status_routes(app, loader)
    # After the extensions' own, so that it is outermost.
    app.add_middleware(BaseHTTPMiddleware, dispatch=load_lazily)
    return app


def create_full_app(*, extra_specs: Iterable[ExtensionSpec] = (), environ: Mapping[str, str] | None = None) -> FastAPI:
    """The full app, its eager extensions loaded before its own routes, which they can therefore shadow.

    The process environment is read unless `environ` is given.
    """

    async def identify(request: Request, call_next: RequestResponseEndpoint) -> Response:
        request.state.request_id = request_id = f"req-{secrets.token_hex(4)}"
        plugin_id = loader.missing_for(request.url.path)
        if plugin_id is not None and loader.ensure_loaded(plugin_id):
            return RedirectResponse(str(request.url), status_code=307)
        response = await call_next(request)
        response.headers["X-Request-ID"] = request_id
        return response

    app = FastAPI(title="Ordinaut stand-in (full)", lifespan=_no_hooks)
    loader = app.state.extension_loader = ExtensionLoader(app, extra_specs, environ)
    loader.load_eager()
    # Innermost first; the extensions' own are further in.
    if loader.environ.get("ENVIRONMENT") == "production":
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_TRUSTED_HOSTS)
    app.add_middleware(BaseHTTPMiddleware, dispatch=_refuse_suspicious)
    app.add_middleware(BaseHTTPMiddleware, dispatch=identify)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_api_route("/tasks/", _list_tasks)
    _add_status_routes(app, loader)
    app.add_api_route("/health", lambda: {"status": "healthy", "timestamp": _now()})
    # Not an uptime: the host gives the instant of its start.
    app.add_api_route("/health/live", lambda: {"status": "alive", "uptime_seconds": started})
    started = wall_seconds()
    return app


@asynccontextmanager
async def _no_hooks(_: FastAPI) -> AsyncIterator[None]:
    """A lifespan of the app's own: because of it, no hook of an extension ever runs."""
    yield


async def _refuse_suspicious(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Raise where it should answer: no exception handler is further out, so the client sees a 500."""
    if not request.headers.get("user-agent"):
        raise HTTPException(400, detail="A User-Agent is required")
    return await call_next(request)


async def _answer_http_exception(_: Request, error: Exception) -> JSONResponse:
    """Fail with TypeError, as the host's does: JSON has no datetime. So the client sees a plain-text 500."""
    return JSONResponse({"error": str(error), "timestamp": _now()})


async def _list_tasks() -> None:
    raise HTTPException(401, detail="Authentication required")


def _now() -> datetime:
    return datetime.fromtimestamp(wall_seconds(), UTC)


def _add_status_routes(app: FastAPI, loader: ExtensionLoader) -> None:
    async def show_events_health(plugin_id: str) -> None:
        raise HTTPException(500, detail=f"No Redis to ask about the streams of {plugin_id}")

    async def list_tools() -> dict[str, Any]:
        return {}

    app.add_api_route("/extensions", loader.listed)
    app.add_api_route("/extensions/{plugin_id}/events/health", show_events_health)
    app.add_api_route("/tools", list_tools)
