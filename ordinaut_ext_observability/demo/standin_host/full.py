"""The shape of the host's full app, with the defects that extensions meet in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ordinaut_ext_observability.background.clock import monotonic_seconds, wall_seconds
from ordinaut_ext_observability.demo.standin_host.discovery import ExtensionSpec
from ordinaut_ext_observability.demo.standin_host.guards import identify_request, refuse_suspicious
from ordinaut_ext_observability.demo.standin_host.loader import ExtensionLoader
from ordinaut_ext_observability.demo.standin_host.records import (
    Records,
    build_agent_router,
    build_event_router,
    build_task_router,
)
from ordinaut_ext_observability.demo.standin_host.status_routes import build_status_router

_TRUSTED_HOSTS = ["localhost", "127.0.0.1", "*.example.com"]


def create_full_app(*, extra_specs: Iterable[ExtensionSpec] = (), environ: Mapping[str, str] | None = None) -> FastAPI:
    """An app with its eager extensions loaded; the process environment is read unless `environ` is given.

    Its routes come after those of the eager extensions, which can therefore shadow them.
    """
    app = FastAPI(title="Ordinaut stand-in (full)", lifespan=_no_hooks)
    loader = ExtensionLoader(app, extra_specs=extra_specs, environ=environ)
    app.state.extension_loader = loader
    loader.load_eager()
    _add_middleware(app, loader)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(Exception, _answer_any_exception)
    records = Records()
    app.include_router(build_task_router(records))
    app.include_router(build_event_router(records))
    app.include_router(build_agent_router())
    app.include_router(build_status_router(loader))
    _add_health_routes(app)
    return app


@asynccontextmanager
async def _no_hooks(_: FastAPI) -> AsyncIterator[None]:
    """A lifespan of the app's own: because of it, no startup or shutdown handler ever runs."""
    yield


def _add_middleware(app: FastAPI, loader: ExtensionLoader) -> None:
    """Innermost first; the extensions' own are already there, further in."""

    async def identify(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await identify_request(loader, request, call_next)

    if loader.environ.get("ENVIRONMENT") == "production":
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_TRUSTED_HOSTS)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["http://localhost:8080"],
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
        allow_headers=["*"],
    )
    app.add_middleware(BaseHTTPMiddleware, dispatch=refuse_suspicious)
    app.add_middleware(BaseHTTPMiddleware, dispatch=identify)


async def _answer_http_exception(_: Request, error: Exception) -> JSONResponse:
    """Fails with TypeError, as the host's does: JSON has no datetime. So the client sees a plain 500."""
    status_code = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": str(error), "timestamp": _now()}, status_code=status_code)


async def _answer_any_exception(_: Request, __: Exception) -> JSONResponse:
    """Fails with TypeError for the same reason, whatever was raised first."""
    return JSONResponse({"error": "Unexpected failure", "timestamp": _now()}, status_code=500)


def _add_health_routes(app: FastAPI) -> None:
    started_seconds = monotonic_seconds()

    @app.get("/")
    async def show_service() -> dict[str, str]:
        return {"service": "Ordinaut stand-in", "docs_url": "/docs", "health_url": "/health"}

    @app.get("/health")
    async def show_health() -> dict[str, Any]:
        return {"status": "healthy", "timestamp": _now()}

    @app.get("/health/ready")
    async def show_readiness() -> dict[str, Any]:
        return {"status": "ready", "database": True}

    @app.get("/health/live")
    async def show_liveness() -> dict[str, Any]:
        return {"status": "alive", "timestamp": _now(), "uptime_seconds": monotonic_seconds() - started_seconds}


def _now() -> datetime:
    return datetime.fromtimestamp(wall_seconds(), UTC)
