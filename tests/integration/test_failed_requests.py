"""Requests whose answer the server makes: what they count as, and that their ids are on the answer and on its lines."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request

from observability.logging import set_request_context
from ordinaut_ext_observability import current_correlation_id

IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["h11", "httptools"])
EXCEPTIONS = "orchestrator_http_exceptions_total"


class NotAnException(BaseException):
    """As `trio.Cancelled` and others are."""


async def cancel_inside() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def cancelled_child() -> None:
    child = asyncio.create_task(asyncio.sleep(10))
    child.cancel()
    await child


async def raise_group() -> None:
    raise BaseExceptionGroup("several", [NotAnException(), ValueError()])


async def raise_base() -> None:
    raise NotAnException


FAILURES = {
    "cancelled": (cancel_inside, "CancelledError"),
    "child": (cancelled_child, "CancelledError"),
    "base": (raise_base, "NotAnException"),
    "group": (raise_group, "BaseExceptionGroup"),
}


def make_app() -> FastAPI:
    app = FastAPI()

    async def raw(scope: Any, receive: Any, send: Any) -> None:
        kind = scope["path"].rpartition("/")[2]
        if kind in FAILURES:
            await FAILURES[kind][0]()
        if kind == "unfinished":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        if kind == "cut":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
            raise LookupError("in the middle")

    app.mount("/raw", raw)
    return app


@IMPLEMENTATIONS
@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_failure_that_the_client_waits_for_is_a_500_with_its_ids(serve: Any, implementation: str, kind: str) -> None:
    served = serve(make_app(), {"http": implementation})
    response = served.get(f"/raw/{kind}", headers={"X-Request-ID": "mine"})
    assert response.status_code == 500
    assert response.headers.get_list("x-request-id") == ["mine"]
    assert response.headers.get_list("x-correlation-id") == ["mine"]
    served.expect_requests({("GET", "/raw/{path}", "500"): 1})
    served.expect(EXCEPTIONS, 1, exception_type=FAILURES[kind][1])
    assert served.log.line(message="request")["level"] == "ERROR"


@IMPLEMENTATIONS
def test_application_that_answers_nothing_is_a_500_with_its_ids(serve: Any, implementation: str) -> None:
    served = serve(make_app(), {"http": implementation})
    response = served.get("/raw/nothing", headers={"X-Request-ID": "mine"})
    assert (response.status_code, response.headers["x-correlation-id"]) == (500, "mine")
    served.expect_requests({("GET", "/raw/{path}", "500"): 1})
    assert "x-correlation-id" in served.get("/nowhere").headers
    assert served.get("/nowhere", headers={"X-Request-ID": "other"}).headers.get_list("x-request-id") == ["other"]


@IMPLEMENTATIONS
@pytest.mark.parametrize("kind", ["unfinished", "cut"])
def test_answer_that_the_server_cuts_off_is_not_the_clients_leaving(serve: Any, implementation: str, kind: str) -> None:
    served = serve(make_app(), {"http": implementation})
    served.raw(b"GET /raw/%s HTTP/1.1\r\nHost: x\r\n\r\n" % kind.encode())
    served.expect_requests({("GET", "/raw/{path}", "200"): 1})


@IMPLEMENTATIONS
def test_failure_after_the_client_left_is_the_clients_leaving(serve: Any, implementation: str) -> None:
    app = FastAPI()
    app.state.entered = asyncio.Event()

    @app.get("/wait")
    async def wait(request: Request) -> None:
        app.state.entered.set()
        while not await request.is_disconnected():
            await asyncio.sleep(0.005)
        raise asyncio.CancelledError

    served = serve(app, {"http": implementation})
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        served.on_loop(app.state.entered.wait())
    served.expect_requests({("GET", "/wait", "499"): 1})
    assert served.value(EXCEPTIONS) == 0


def app_with_contexts() -> FastAPI:
    app = FastAPI()
    log = logging.getLogger("of.the.host")

    @app.get("/first")
    async def first() -> None:
        set_request_context(task_id="task-of-first", agent_id="agent-of-first")
        await asyncio.sleep(0.05)  # the second request arrives on the same connection
        log.info("in first")

    @app.get("/second")
    async def second() -> None:
        log.info("in second")

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("the second's failure")

    @app.post("/upload")
    async def upload(request: Request) -> int:
        set_request_context(task_id="task-of-upload")
        return len(await request.body())

    return app


@IMPLEMENTATIONS
def test_pipelined_request_knows_nothing_of_the_one_before(serve: Any, implementation: str) -> None:
    served = serve(app_with_contexts(), {"http": implementation}, CONFIGURE_LOGGING="true")
    requests = b"".join(
        b"GET /%s HTTP/1.1\r\nHost: x\r\nX-Request-ID: id-%s\r\n%s\r\n" % (name, name, last)
        for name, last in ((b"first", b""), (b"second", b"Connection: close\r\n"))
    )
    served.raw(requests)
    first, second = (served.log.line(message=f"in {name}") for name in ("first", "second"))
    assert (first["correlation_id"], first["task_id"], first["agent_id"]) == (
        "id-first",
        "task-of-first",
        "agent-of-first",
    )
    assert second["correlation_id"] == "id-second"
    assert not {"task_id", "agent_id", "task_context"} & second.keys()


@IMPLEMENTATIONS
def test_kept_alive_request_knows_nothing_of_the_one_before(serve: Any, implementation: str) -> None:
    served = serve(app_with_contexts(), {"http": implementation}, CONFIGURE_LOGGING="true")
    upload = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(upload)
        served.expect("orchestrator_http_requests_in_progress", 1, method="POST")
        client.sendall(b"body")
        assert client.recv(65536)
        client.sendall(b"GET /second HTTP/1.1\r\nHost: x\r\nX-Request-ID: id-second\r\n\r\n")
        line = served.log.line(message="in second")
    assert line["correlation_id"] == "id-second"
    assert "task_id" not in line


@IMPLEMENTATIONS
@pytest.mark.parametrize("before", [b"", b"GET /first HTTP/1.1\r\nHost: x\r\nX-Request-ID: id-first\r\n\r\n"])
def test_servers_line_of_an_exception_has_the_requests_ids(serve: Any, implementation: str, before: bytes) -> None:
    served = serve(app_with_contexts(), {"http": implementation}, CONFIGURE_LOGGING="true")
    served.raw(before + b"GET /fails HTTP/1.1\r\nHost: x\r\nX-Request-ID: id-fails\r\nConnection: close\r\n\r\n")
    (line,) = [line for line in served.log.lines(1, logger="uvicorn.error", level="ERROR") if "exception" in line]
    assert line["correlation_id"] == "id-fails"
    assert "the second's failure" in line["exception"]
    assert "task_id" not in line


def test_client_in_the_same_process_gets_its_own_ids_back(serve: Any) -> None:
    httpx = pytest.importorskip("httpx")
    app = app_with_contexts()

    @app.get("/calls-itself")
    async def call_itself() -> list[str | None]:
        set_request_context(task_id="outer-task")
        before = current_correlation_id()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inner") as client:
            await client.get("/first", headers={"X-Request-ID": "inner"})
            with pytest.raises(RuntimeError):
                await client.get("/fails", headers={"X-Request-ID": "inner"})
        logging.getLogger("of.the.host").info("back")
        return [before, current_correlation_id()]

    served = serve(app, CONFIGURE_LOGGING="true")
    assert served.get("/calls-itself", headers={"X-Request-ID": "outer"}).json() == ["outer", "outer"]
    line = served.log.line(message="back")
    assert (line["correlation_id"], line["task_id"]) == ("outer", "outer-task")
