"""Whatever is made to fail inside us, the host's answers are those it gives without us, and the failure is counted."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
import contextlib
import os
from collections.abc import Callable
from typing import Any

import pytest

from ordinaut_ext_observability import configure_logging, get_logger
from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Match
from websockets.sync.client import connect

from ordinaut_ext_observability.demo.standin_host import ExtensionSpec, create_full_app, create_lean_app
from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.destination import Destination
from ordinaut_ext_observability.logs.writer import LogWriter
from ordinaut_ext_observability.metrics.family import Counter, Gauge, Histogram
from ordinaut_ext_observability.runtime import current, host_integration, process
from ordinaut_ext_observability.web.route_templates import EndpointResolver
from ordinaut_ext_observability.web.management import ManagementServer
from ordinaut_ext_observability.web.recorder import RequestRecorder, RequestSeries
from ordinaut_ext_observability.web.request_ids import RequestIdReader

MOUNT = "/ext/observability"
LOG_LINES = "ordinaut_observability_log_lines_total"
OF_OURS = {"x-correlation-id", "x-request-id", "server-timing"}

REQUESTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "/tasks/41", {}),
    ("HEAD", "/tasks/41", {}),
    ("GET", "/tasks/not-a-number", {}),
    ("GET", "/tasks/41/", {}),
    ("GET", "/nowhere", {}),
    ("DELETE", "/tasks/41", {}),
    ("ODD", "/tasks/41", {}),
    ("POST", "/echo", {"content": b"\x00\xff" * 1000}),
    ("GET", "/in-a-thread", {}),
    ("GET", "/background", {}),
    ("GET", "/stream", {}),
    ("GET", "/events", {}),
    ("GET", "/teapot", {}),
    ("GET", "/handled", {}),
    ("GET", "/unhandled", {}),
    ("GET", "/tasks/41", {"headers": {"X-Request-ID": "not acceptable", "traceparent": "nonsense"}}),
)


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a failure of ours")


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/tasks/{task_id}")
    async def show(task_id: int) -> dict[str, int]:
        return {"task": task_id}

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), headers={"X-Mine": "kept"})

    @app.get("/in-a-thread")
    def in_a_thread() -> str:
        return "answered"

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(lambda: None)
        return "answered"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["one", "two"]))

    @app.get("/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(iter(["data: one\n\n", "data: two\n\n"]), media_type="text/event-stream")

    @app.get("/teapot")
    async def refuse() -> None:
        raise HTTPException(418, "a teapot", {"X-Pot": "tea"})

    @app.get("/handled")
    async def fail_as_expected() -> None:
        raise KeyError("handled")

    @app.get("/unhandled")
    async def fail_for_real() -> None:
        raise RuntimeError("unhandled")

    @app.websocket("/talk")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"you said {await websocket.receive_text()}")
        await websocket.close(4001)

    @app.exception_handler(KeyError)
    async def handle(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"handled": str(error)}, 409)

    return app


def answers(served: Any, requests: Any = REQUESTS) -> list[tuple[str, int, bytes, dict[str, str]]]:
    """What the server answers to the requests, without the headers that are ours and the time."""
    told = []
    for method, path, options in requests:
        response = served.client.request(method, path, **options)
        kept = {name: value for name, value in response.headers.items() if name not in OF_OURS | {"date"}}
        told.append((f"{method} {path}", response.status_code, response.content, kept))
    return told


def same_redirects(told: list[Any], served: Any) -> list[Any]:
    """The answers with the server's own address taken out of their headers."""
    return [
        (*rest, {name: value.replace(served.url, "") for name, value in headers.items()}) for *rest, headers in told
    ]


@pytest.fixture
def expected(serve_bare: Any) -> list[Any]:
    """What the application answers without us."""
    bare = serve_bare(make_app())
    return same_redirects(answers(bare), bare)


FAULTS: dict[str, tuple[type, str, Callable[..., Any], str]] = {
    "counting a request": (RequestSeries, "add", fail, "recorder"),
    "making the series": (RequestSeries, "__init__", fail, "recorder"),
    "finding a counter": (Counter, "labels", fail, ""),
    "finding a gauge": (Gauge, "labels", fail, ""),
    "finding a histogram": (Histogram, "labels", fail, "recorder"),
    "finding the endpoint": (EndpointResolver, "resolve", fail, "recorder"),
    "recording": (RequestRecorder, "_record_waiting", fail, "log_writer"),
    "reading the ids": (RequestIdReader, "read", fail, "middleware"),
    "ids that are no header": (RequestIdReader, "read", lambda *_: ("\ud800", "0", "0", False), "middleware"),
    "choosing the level": (AccessLog, "level", fail, "recorder"),
    "writing the access line": (AccessLog, "emit", fail, "recorder"),
    "queueing a line": (LogWriter, "write", fail, "recorder"),
    "waking the writer": (LogWriter, "wake", fail, "middleware"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_answers_stay_what_they_were_while_it_fails(
    serve: Any,
    expected: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Any,
    fault: str,
) -> None:
    owner, name, failure, component = FAULTS[fault]
    served = serve(make_app())
    with monkeypatch.context() as failing:
        failing.setattr(owner, name, failure)
        # Often enough that a batch is recorded on the loop as well.
        told = [same_redirects(answers(served), served) for _ in range(5)]
    assert told == [expected] * 5

    def failures_the_server_saw() -> list[str]:
        return [
            str(record.exc_info[1])
            for record in caplog.records
            if record.name == "uvicorn.error" and record.exc_info is not None
        ]

    assert eventually(lambda: len(failures_the_server_saw()) >= 5)
    assert set(failures_the_server_saw()) == {"unhandled"}
    if component:
        assert served.internal_errors().get(component, 0) > 0


@pytest.mark.parametrize("fault", FAULTS)
def test_measuring_goes_on_after_the_failure(serve: Any, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    owner, name, failure, _ = FAULTS[fault]
    served = serve(make_app())
    with monkeypatch.context() as failing:
        failing.setattr(owner, name, failure)
        served.get("/tasks/1")
    served.log.path.write_text("")
    served.get("/in-a-thread", headers={"X-Request-ID": "mine"})
    served.expect("orchestrator_http_requests_total", 1, endpoint="/in-a-thread")
    assert served.log.line(path="/in-a-thread")["correlation_id"] == "mine"


@pytest.mark.parametrize("fault", ["reading the ids", "ids that are no header", "finding a counter"])
def test_websocket_stays_what_it_was_while_it_fails(serve: Any, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    owner, name, failure, _ = FAULTS[fault]
    served = serve(make_app())
    with monkeypatch.context() as failing:
        failing.setattr(owner, name, failure)
        with connect(f"ws://127.0.0.1:{served.port}/talk", proxy=None) as connection:
            connection.send("hello")
            assert connection.recv(5) == "you said hello"
    served.get("/tasks/1")
    served.expect("orchestrator_http_requests_total", 1)


@pytest.mark.parametrize("destination", ["closed", "full", "not for writing"])
def test_log_that_cannot_be_written_costs_only_its_lines(
    serve: Any, expected: list[Any], destination: str, eventually: Any
) -> None:
    served = serve(make_app())
    with contextlib.ExitStack() as stack:
        if destination == "closed":
            unusable = 1_000_000_000  # a number of no open file; that of a closed one may soon be a socket's
        else:
            path, flags = ("/dev/full", os.O_WRONLY) if destination == "full" else (os.devnull, os.O_RDONLY)
            unusable = os.open(path, flags)
            stack.callback(os.close, unusable)
        writer = served.runtime.logs.writer
        stack.callback(setattr, writer, "_destination", writer._destination)
        writer._destination = Destination(unusable)
        assert same_redirects(answers(served), served) == expected
        # A busy machine has lines of its own, such as that of a loop that was blocked.
        assert eventually(lambda: served.value(LOG_LINES, outcome="dropped") >= len(REQUESTS))
    served.get("/in-a-thread")
    assert served.log.line(path="/in-a-thread", message="request")["status_code"] == 200


def test_start_that_fails_leaves_the_host_as_it_was(
    serve: Any, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(process.Runtime, "start", fail)
        served = serve(make_app())
        assert same_redirects(answers(served), served) == expected
    assert served.internal_errors()["start"] == 3  # before the host starts, after, and at its first request


def test_management_port_that_fails_leaves_the_host_as_it_was(
    serve: Any, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ManagementServer, "start", fail)
    served = serve(make_app(), MANAGEMENT_PORT="0")
    assert same_redirects(answers(served), served) == expected
    assert served.internal_errors() != {}


@pytest.mark.parametrize(
    ("owner", "name"), [(LogWriter, "close"), (ManagementServer, "stop"), (process.Runtime, "stop")]
)
def test_stop_that_fails_does_not_fail_the_hosts_own(
    serve: Any, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    served = serve(make_app(), MANAGEMENT_PORT="0")
    management = served.runtime.ports.management
    with monkeypatch.context() as failing:
        failing.setattr(owner, name, fail)
        served.stop()
    management.stop()
    assert served._server.lifespan.shutdown_failed is False
    assert sum(served.internal_errors().values()) > 0


class _PickyRoute(BaseRoute):
    """A route of the host's own kind, which asks for what real requests have."""

    def matches(self, scope: Any) -> tuple[Match, dict[str, Any]]:
        assert scope["client"]
        assert scope["state"] is not None
        return Match.NONE, {}


def test_host_with_a_route_that_cannot_be_asked_starts(serve: Any, serve_bare: Any) -> None:
    apps = [make_app(), make_app()]
    for app in apps:
        app.router.routes.insert(0, _PickyRoute())
    bare, served = serve_bare(apps[0]), serve(apps[1])
    assert same_redirects(answers(served), served) == same_redirects(answers(bare), bare)


HOST_REQUESTS = (("GET", "/health", {}), ("GET", "/tools", {}), ("GET", "/nowhere", {}), ("POST", "/extensions", {}))


@pytest.mark.parametrize("create", [create_lean_app, create_full_app])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (current, "load_settings"),
        (current, "Runtime"),
        (host_integration.HostIntegration, "__init__"),
        (host_integration.HostIntegration, "router"),
        (host_integration.HostIntegration, "attach"),
    ],
)
def test_set_up_that_fails_leaves_no_trace_and_may_be_tried_again(
    clean_process: pytest.MonkeyPatch, serve_bare: Any, create: Any, owner: Any, name: str
) -> None:
    spec = ExtensionSpec("observability", ObservabilityExtension, eager=True)
    bare = create(environ={})
    with clean_process.context() as failing:
        failing.setattr(owner, name, fail)
        app = create(extra_specs=[spec], environ={})
    loader = app.state.extension_loader
    assert loader.status["observability"] == {"state": "error", "error": "a failure of ours"}
    assert list(map(type, app.routes)) == list(map(type, bare.routes))
    assert "build_middleware_stack" not in vars(app)
    with_failure, without = serve_bare(app), serve_bare(bare)

    def told(served: Any) -> list[Any]:
        return [
            (request, status, len(content) if request.endswith("/health") else content, headers)
            for request, status, content, headers in same_redirects(answers(served, HOST_REQUESTS), served)
        ]

    for one, other in zip(told(with_failure), told(without), strict=True):
        assert {**one[3], "x-request-id": ""} == {**other[3], "x-request-id": ""}
        assert one[:3] == other[:3]
    # The next request to it loads it anew, as in the host.
    assert with_failure.get(f"{MOUNT}/metrics").status_code == 307
    assert with_failure.get(f"{MOUNT}/metrics").status_code == 200
    assert loader.status["observability"]["state"] == "loaded"
    app.state.ordinaut_observability._runtime.stop()


def test_busy_threads_of_the_host_do_not_hold_up_its_shutdown(set_up: Any) -> None:
    app, release = FastAPI(), threading.Event()
    set_up(app)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        async with app.router.lifespan_context(app):
            for _ in range(2):
                loop.run_in_executor(None, release.wait, 20)
            started = time.monotonic()
        seconds = time.monotonic() - started
        release.set()
        return seconds

    assert asyncio.run(main()) < 10


def test_disabled_leaves_logging_alone(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_DISABLED", "1")
    threads, handlers = set(threading.enumerate()), list(logging.getLogger().handlers)
    logger = get_logger("tests.disabled")
    configure_logging()
    logger.warning("to whom it may concern")
    assert (logger.handlers, logger.propagate) == ([], True)
    assert logging.getLogger().handlers == handlers
    # Clients of earlier tests may be freed meanwhile, each in a thread.
    assert {each for each in threading.enumerate() if each.name != "observability-release"} <= threads


def test_hosts_own_logging_setup_at_its_start_does_not_undo_ours(serve: Any) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        logging.basicConfig(force=True)
        yield

    before = list(logging.getLogger().handlers)
    served = serve(FastAPI(lifespan=lifespan), CONFIGURE_LOGGING="true")
    try:
        logging.getLogger("of the host").warning("said", extra={"user": "ann"})
        assert served.log.line(message="said")["user"] == "ann"
    finally:
        served.runtime.logs.setup.restore()
        logging.getLogger().handlers[:] = before
