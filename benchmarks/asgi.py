"""Applications in the three configurations compared, and the smallest server that can drive them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

import orjson
import structlog
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import SecretStr
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.logs.destination import Destination
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.settings.parts import AccessSettings, LogSettings

MOUNT_PATH = "/ext/observability"

HEADERS = [
    (b"host", b"127.0.0.1:8080"),
    (b"user-agent", b"benchmark/1.0"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
]

Message = dict[str, Any]


def make_app(routes: int = 1) -> FastAPI:
    """A host with so many routes, each with a path parameter."""
    app = FastAPI(openapi_url=None)
    for number in range(routes):

        @app.get(f"/resources{number}/{{resource_id}}")
        async def read(resource_id: int) -> dict[str, int]:
            return {"id": resource_id}

    return app


def paths(routes: int = 1) -> list[str]:
    """A path for each route."""
    return [f"/resources{number}/42" for number in range(routes)]


def add_ours(
    app: FastAPI, descriptor: int, *, access_log: bool = True, token: str = "", settings: Settings | None = None
) -> Runtime:
    """Mount the extension as the host's loader does; its lines go to the descriptor. `token` is the operators'."""
    access = AccessSettings(operator_token=SecretStr(token)) if token else AccessSettings()
    settings = settings or Settings(logs=LogSettings(access_log=access_log), access=access)
    router = ObservabilityExtension(settings).setup(app=app, mount_path=MOUNT_PATH)
    if router is None:
        raise RuntimeError("the extension is disabled")
    app.include_router(router, prefix=MOUNT_PATH)
    runtime: Runtime = app.state.ordinaut_observability._runtime
    runtime.logs.writer._destination = Destination(descriptor)
    return runtime


class AccessLine(Enum):
    """How the peers write their access line."""

    NONE = "none"
    USUAL = "usual"
    """In a function under `@app.middleware("http")`, as examples for FastAPI have it."""
    LEAN = "lean"
    """In a class of plain ASGI, as few write it."""


def add_peers(app: FastAPI, descriptor: int, access_line: AccessLine = AccessLine.LEAN) -> None:
    """What people combine: an instrumentator for metrics, a middleware for ids, structlog for the access line."""
    Instrumentator(registry=CollectorRegistry()).instrument(app)
    if access_line is AccessLine.LEAN:
        app.add_middleware(LeanAccessLine, descriptor=descriptor)
    elif access_line is AccessLine.USUAL:
        _add_usual_access_line(app, descriptor)
    app.add_middleware(CorrelationIdMiddleware)


def _structlog(descriptor: int) -> Any:
    """structlog at its fastest: cached, bytes, orjson."""
    return structlog.wrap_logger(
        structlog.BytesLogger(open(descriptor, "wb", closefd=False)),
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_correlation_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=True,
    )


def _add_usual_access_line(app: FastAPI, descriptor: int) -> None:
    log = _structlog(descriptor)

    @app.middleware("http")
    async def access_line(request: Request, call_next: RequestResponseEndpoint) -> Response:
        started = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get("route")
        log.info(
            "request",
            event_type="api_request",
            method=request.method,
            path=route.path if route is not None else "<unmatched>",
            status_code=response.status_code,
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
        )
        return response


class LeanAccessLine:
    """A JSON line per request, as lean as structlog can."""

    def __init__(self, app: Any, descriptor: int) -> None:
        self.app = app
        self._log = _structlog(descriptor)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        size = 0

        async def send_noting(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        finally:
            route = scope.get("route")
            self._log.info(
                "request",
                event_type="api_request",
                method=scope["method"],
                path=route.path if route is not None else "<unmatched>",
                status_code=status,
                duration_ms=round((time.perf_counter() - started) * 1000, 3),
                response_bytes=size,
            )


def _add_correlation_id(_logger: Any, _method: str, event: Any) -> Any:
    """The recipe in asgi-correlation-id's README."""
    event["correlation_id"] = correlation_id.get()
    return event


class Exchange:
    """A server's side of one request. An object with methods, as in uvicorn."""

    __slots__ = ("disconnected", "status")

    def __init__(self) -> None:
        self.disconnected = False
        self.status = 0

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]


async def request(app: Any, path: str, method: str = "GET", headers: Iterable[tuple[bytes, bytes]] = HEADERS) -> int:
    """One request; its status."""
    exchange = Exchange()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    await app(scope, exchange.receive, exchange.send)
    return exchange.status


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """The application started, and ended afterwards, as a server does it."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    serving: Awaitable[None] = asyncio.ensure_future(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, to_app.get, from_app.put)
    )
    for phase in ("startup", "shutdown"):
        await to_app.put({"type": f"lifespan.{phase}"})
        answer = await from_app.get()
        if answer["type"] != f"lifespan.{phase}.complete":
            raise RuntimeError(answer)
        if phase == "startup":
            try:
                yield
            except BaseException:
                await to_app.put({"type": "lifespan.shutdown"})
                raise
    await serving


Settle = Callable[[], object]


def settle(app: FastAPI) -> Settle:
    """What is left to do once requests are answered: recording them, writing their lines."""
    integration = app.state.ordinaut_observability
    record, flush = integration._recorder.record_waiting, integration._runtime.logs.writer.flush

    def finish_work() -> None:
        record()
        if not flush(10.0):
            raise RuntimeError("lines were not written")

    return finish_work
