"""The application that is asked: FastAPI with everything around it that changes how an answer is made.

With `SAME_BYTES_MOUNTED` in the environment the extension is set up in it, as the host's loader does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import BackgroundTasks, Body, Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketException
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from . import seen
from .raw_http import OddError, raw_http
from .raw_websocket import raw_websocket

FILES = Path(os.environ["SAME_BYTES_FILES"])


async def raw(scope: Any, receive: Any, send: Any) -> None:
    await (raw_websocket if scope["type"] == "websocket" else raw_http)(scope, receive, send)


class Application(FastAPI):
    """Puts `/bare/` in front of Starlette's own error layer, as outermost layers of applications do."""

    def build_middleware_stack(self) -> Any:
        stack = super().build_middleware_stack()

        async def outermost(scope: Any, receive: Any, send: Any) -> None:
            bare = scope["type"] != "lifespan" and scope["path"].startswith("/bare/")
            await (raw if bare else stack)(scope, receive, send)

        return outermost


fastapi = Application()
if os.environ.get("SAME_BYTES_MOUNTED"):
    (_entry_point,) = entry_points(group="ordinaut.plugins", name="observability")
    _router = _entry_point.load()().setup(
        app=fastapi, mount_path="/ext/observability", tool_registry=None, grants=set(), context={}
    )
    fastapi.include_router(_router, prefix="/ext/observability")


class HandledError(Exception):
    pass


@fastapi.exception_handler(HandledError)
async def handled(request: Request, error: HandledError) -> Response:
    if request.url.path.endswith("/badly"):
        raise RuntimeError("the handler failed")
    return JSONResponse({"handled": str(error)}, 418, {"x-handled": "yes"})


@fastapi.get("/seen")
async def what_was_seen() -> list[str]:
    return seen.take()


@fastapi.api_route("/any", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def any_method(request: Request) -> dict[str, str]:
    return {"method": request.method}


@fastapi.get("/items/{item}")
def item(item: int, q: str | None = None) -> dict[str, Any]:
    return {"item": item, "q": q}


@fastapi.get("/text/{text:path}")
async def path_text(text: str, request: Request) -> dict[str, Any]:
    return {"text": text, "path": request.scope["raw_path"].decode("latin-1"), "query": str(request.url.query)}


@fastapi.post("/json")
async def json_body(payload: Annotated[dict[str, int], Body()]) -> dict[str, int]:
    return payload


@fastapi.post("/body")
async def body(request: Request) -> Response:
    return Response(await request.body(), headers={"x-length": request.headers.get("content-length", "none")})


@fastapi.post("/body/unread")
async def unread() -> str:
    return "not read"


@fastapi.get("/headers")
async def headers(request: Request) -> dict[str, Any]:
    return {"headers": [[a.decode("latin-1"), b.decode("latin-1")] for a, b in request.scope["headers"]]}


@fastapi.get("/fail/{how}")
async def fail(how: str) -> None:
    if how == "http":
        raise HTTPException(409, {"why": "conflict"}, {"x-why": "conflict"})
    if how == "http-204":
        raise HTTPException(204)
    if how == "handled" or how == "badly":
        raise HandledError("an error of its own")
    if how == "group":
        raise ExceptionGroup("group", [HTTPException(400), ValueError("b")])
    if how == "odd":
        raise OddError("odd")
    raise RuntimeError("unhandled")


@fastapi.get("/fail-in-thread")
def fail_in_thread() -> None:
    raise RuntimeError("in a thread")


@fastapi.get("/wrong-model", response_model=dict[str, int])
async def wrong_model() -> Any:
    return {"a": "not a number"}


async def before() -> AsyncIterator[None]:
    raise RuntimeError("before the endpoint")
    yield


async def after() -> AsyncIterator[int]:
    yield 1
    raise RuntimeError("after the endpoint")


def raises_http_after() -> Iterator[int]:
    yield 1
    raise HTTPException(410)


async def swallows() -> AsyncIterator[int]:
    try:
        yield 1
    except RuntimeError:
        seen.note("seen by the dependency")
        raise


@fastapi.get("/depends/before")
async def depends_before(value: Annotated[Any, Depends(before)]) -> str:
    return "ok"


@fastapi.get("/depends/after")
async def depends_after(value: Annotated[Any, Depends(after)]) -> str:
    return "ok"


@fastapi.get("/depends/http-after")
async def depends_http_after(value: Annotated[Any, Depends(raises_http_after)]) -> str:
    return "ok"


@fastapi.get("/depends/seen")
async def depends_seen(value: Annotated[Any, Depends(swallows)]) -> str:
    raise RuntimeError("in the endpoint")


def _fails() -> None:
    raise RuntimeError("in the background")


def _notes() -> None:
    seen.note("in the background")


@fastapi.get("/background/{how}")
async def background(how: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(_fails if how == "fails" else _notes)
    return "answered"


async def _lines(fail_at: int = 99) -> AsyncIterator[bytes]:
    for number in range(5):
        if number == fail_at:
            raise RuntimeError("in the middle")
        yield b"line %d\n" % number


def _lines_in_thread() -> Iterator[bytes]:
    yield from (b"a\n", b"b\n")


@fastapi.get("/stream/{how}")
async def stream(how: str) -> Response:
    if how == "fails":
        return StreamingResponse(_lines(2))
    if how == "fails-at-once":
        return StreamingResponse(_lines(0))
    if how == "thread":
        return StreamingResponse(_lines_in_thread(), media_type="text/plain")
    if how == "length":
        return StreamingResponse(_lines(), headers={"content-length": "35"})
    if how == "length-fails":
        return StreamingResponse(_lines(2), headers={"content-length": "35"})
    return StreamingResponse(_lines())


async def _events(endless: bool, fails: bool) -> AsyncIterator[str]:
    for number in range(3):
        yield f"id: {number}\ndata: x\n\n"
    if fails:
        raise RuntimeError("between events")
    if endless:
        try:
            await anyio.sleep_forever()
        finally:
            seen.note("stream ended")


@fastapi.get("/events")
async def events(endless: bool = False, fails: bool = False) -> Response:
    return StreamingResponse(_events(endless, fails), media_type="text/event-stream", headers={"cache-control": "no"})


@fastapi.get("/file/{name}")
async def file(name: str) -> Response:
    return FileResponse(FILES / name, filename=None if name == "plain.txt" else f"ü {name}")


@fastapi.get("/status/{code}")
async def status(code: int) -> Response:
    return Response(status_code=code)


@fastapi.get("/cookies")
async def cookies() -> Response:
    response = JSONResponse({})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return response


@fastapi.get("/own-ids")
async def own_ids() -> Response:
    return JSONResponse(
        {}, headers={"X-Request-ID": "own-1", "X-Correlation-ID": "own-2", "Server-Timing": "own;dur=1"}
    )


@fastapi.get("/slash/")
async def slash() -> str:
    return "with a slash"


@fastapi.websocket("/ws/echo")
async def ws_echo(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="chat" if "chat" in websocket.scope["subprotocols"] else None)
    while True:
        await websocket.send_text(await websocket.receive_text())


@fastapi.websocket("/ws/number/{number}")
async def ws_number(websocket: WebSocket, number: int) -> None:
    await websocket.accept(headers=[(b"x-number", str(number).encode())])
    await websocket.close(4000, "done")


@fastapi.websocket("/ws/fail/{how}")
async def ws_fail(websocket: WebSocket, how: str) -> None:
    if how == "policy":
        raise WebSocketException(1008, "policy")
    if how == "http":
        raise HTTPException(403, "forbidden")
    if how == "accepted-policy":
        await websocket.accept()
        raise WebSocketException(1008, "policy")
    await websocket.send_denial_response(JSONResponse({"denied": True}, 401))


async def _text(request: Request) -> Response:
    if "fail" in request.query_params:
        raise RuntimeError("inside")
    return PlainTextResponse("long enough to be compressed " * 40, headers={"X-Request-ID": "own-1"})


async def _stream(request: Request) -> Response:
    return StreamingResponse(_lines(2 if "fail" in request.query_params else 99))


async def _pass(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["x-passed"] = "yes"
    if "after" in request.query_params:
        raise RuntimeError("in the middleware")
    return response


def _application(*middleware: Middleware, debug: bool = False) -> Starlette:
    routes = [Route("/text", _text), Route("/stream", _stream), Mount("/raw", raw)]
    return Starlette(debug=debug, routes=routes, middleware=middleware)


fastapi.mount("/raw", raw)
fastapi.mount("/sub", _application())
fastapi.mount("/debug", _application(debug=True))
fastapi.mount("/based", _application(Middleware(BaseHTTPMiddleware, dispatch=_pass)))
fastapi.mount("/gzip", _application(Middleware(GZipMiddleware, minimum_size=100)))
fastapi.mount("/cors", _application(Middleware(CORSMiddleware, allow_origins=["http://o"], allow_credentials=True)))
fastapi.mount("/static", StaticFiles(directory=FILES, html=True))
outer = Starlette(routes=[Mount("/outer", fastapi)])


async def app(scope: Any, receive: Any, send: Any) -> None:
    """What is served: an outer application under `/outer/`, a layer that answers for what fails in `/caught/`."""
    if scope["type"] == "lifespan" or not scope["path"].startswith(("/outer/", "/caught/")):
        await fastapi(scope, receive, send)
    elif scope["path"].startswith("/outer/"):
        await outer(scope, receive, send)
    else:
        try:
            await fastapi({**scope, "path": scope["path"].removeprefix("/caught")}, receive, send)
        except BaseException as error:
            seen.note(f"caught {type(error).__name__}")
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"6")]})
            await send({"type": "http.response.body", "body": b"caught"})
