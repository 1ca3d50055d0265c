"""What is counted and timed of a request: its duration, its outcome, its bytes, and what is left out."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

MOUNT = "/ext/observability"
SECONDS = "orchestrator_http_request_duration_seconds"
IN_PROGRESS = "orchestrator_http_requests_in_progress"
EXCEPTIONS = "orchestrator_http_exceptions_total"
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["h11", "httptools"])


def make_app() -> FastAPI:
    app = FastAPI()
    app.state.release = threading.Event()
    app.state.entered = threading.Event()
    app.state.left = threading.Event()

    @app.get("/quick")
    async def quick() -> str:
        return "quick"

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(app.state.release.wait, 5)
        return "answered"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> Any:
            for _ in range(3):
                await asyncio.sleep(0.1)
                yield "x" * 100

        return StreamingResponse(pieces())

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def pieces() -> Any:
            while True:
                yield "x" * 1000
                await asyncio.sleep(0.01)

        return StreamingResponse(pieces())

    @app.get("/hold")
    async def hold() -> str:
        app.state.entered.set()
        while not app.state.release.is_set():
            await asyncio.sleep(0.005)
        app.state.left.set()
        return "held"

    @app.get("/unhandled")
    async def unhandled() -> None:
        raise RuntimeError("unhandled")

    @app.get("/background-fails")
    async def background_fails(tasks: BackgroundTasks) -> str:
        def fail() -> None:
            raise LookupError("in the background")

        tasks.add_task(fail)
        return "answered"

    @app.get("/stream-fails")
    async def stream_fails() -> StreamingResponse:
        async def pieces() -> Any:
            yield "first"
            raise LookupError("in the stream")

        return StreamingResponse(pieces(), headers={"Content-Length": "10"})

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    @app.post("/ignore")
    async def ignore() -> str:
        return "not read"

    return app


@pytest.fixture
def served(serve: Any) -> Any:
    return serve(make_app())


def test_time_excludes_a_background_task(served: Any) -> None:
    served.get("/background")
    served.expect(f"{SECONDS}_count", 1, endpoint="/background")
    assert not served.app.state.release.is_set()
    assert served.value(f"{SECONDS}_sum", endpoint="/background") < 4
    served.app.state.release.set()


def test_request_is_counted_while_its_background_task_still_runs(served: Any) -> None:
    served.get("/background")
    served.expect_requests({("GET", "/background", "200"): 1})
    served.app.state.release.set()


def test_time_includes_a_slow_streaming_body(served: Any) -> None:
    served.get("/stream")
    served.expect(f"{SECONDS}_count", 1, endpoint="/stream")
    assert served.value(f"{SECONDS}_sum", endpoint="/stream") >= 0.25


def test_in_progress_counts_requests_under_way(served: Any) -> None:
    thread = threading.Thread(target=lambda: served.get("/hold"))
    thread.start()
    assert served.app.state.entered.wait(5)
    served.expect(IN_PROGRESS, 1, method="GET")
    served.app.state.release.set()
    thread.join()
    served.expect(IN_PROGRESS, 0, method="GET")


def test_in_progress_goes_down_at_the_last_byte(served: Any) -> None:
    served.get("/background")
    served.expect(IN_PROGRESS, 0, method="GET")
    assert not served.app.state.release.is_set()
    served.app.state.release.set()


def test_in_progress_does_not_count_the_scrape_itself(served: Any) -> None:
    served.get("/quick")
    for path in (f"{MOUNT}/metrics", "/metrics"):
        assert f'{IN_PROGRESS}{{method="GET"}} 0.0' in served.get(path).text


def test_in_progress_does_not_count_the_scrape_under_a_root_path(serve: Any) -> None:
    served = serve(make_app(), {"root_path": "/proxy"})
    served.get("/quick")
    assert f'{IN_PROGRESS}{{method="GET"}} 0.0' in served.get(f"{MOUNT}/metrics").text


def test_in_progress_counts_a_host_path_that_begins_like_ours(serve: Any) -> None:
    app = make_app()
    app.add_api_route("/metrics-report", _hold_of(app))
    served = serve(app)
    thread = threading.Thread(target=lambda: served.get("/metrics-report"))
    thread.start()
    assert served.app.state.entered.wait(5)
    try:
        served.expect(IN_PROGRESS, 1, method="GET")
    finally:
        served.app.state.release.set()
        thread.join()


def _hold_of(app: FastAPI) -> Any:
    async def hold() -> str:
        app.state.entered.set()
        while not app.state.release.is_set():
            await asyncio.sleep(0.005)
        return "held"

    return hold


@IMPLEMENTATIONS
def test_unhandled_exception_is_a_500_and_counted_once(serve: Any, implementation: str) -> None:
    served = serve(make_app(), {"http": implementation})
    assert served.get("/unhandled").status_code == 500
    served.expect_requests({("GET", "/unhandled", "500"): 1})
    served.expect(EXCEPTIONS, 1)
    served.expect(EXCEPTIONS, 1, method="GET", endpoint="/unhandled", exception_type="RuntimeError")


def test_exception_behind_a_middleware_of_the_host_is_counted_once(serve: Any) -> None:
    app = make_app()

    @app.middleware("http")
    async def pass_on(request: Request, call_next: Any) -> Response:
        return await call_next(request)

    served = serve(app)
    served.get("/unhandled")
    served.expect(EXCEPTIONS, 1, method="GET", endpoint="/unhandled", exception_type="RuntimeError")
    served.expect_requests({("GET", "/unhandled", "500"): 1})


def test_exception_handled_by_the_application_is_no_unhandled_one(serve: Any) -> None:
    app = make_app()

    @app.exception_handler(RuntimeError)
    async def handle(request: Request, error: Exception) -> Response:
        return PlainTextResponse("handled", 503)

    served = serve(app)
    assert served.get("/unhandled").status_code == 503
    served.expect_requests({("GET", "/unhandled", "503"): 1})
    assert served.value(EXCEPTIONS) == 0


def test_exception_of_a_background_task_is_counted_and_the_answer_stays_200(served: Any) -> None:
    assert served.get("/background-fails").status_code == 200
    served.expect(EXCEPTIONS, 1, endpoint="/background-fails", exception_type="LookupError")
    served.expect_requests({("GET", "/background-fails", "200"): 1})


def test_exception_inside_a_streaming_body_is_counted(served: Any) -> None:
    answer = served.raw(b"GET /stream-fails HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"first")
    served.expect(EXCEPTIONS, 1, endpoint="/stream-fails")  # Starlette before 0.42 raises it in an ExceptionGroup
    served.expect("orchestrator_http_requests_total", 1, endpoint="/stream-fails")


@IMPLEMENTATIONS
def test_client_that_leaves_while_streaming_is_499(serve: Any, implementation: str) -> None:
    served = serve(make_app(), {"http": implementation})
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"xxx" in client.recv(65536) + client.recv(65536)
    served.expect_requests({("GET", "/endless", "499"): 1})
    assert served.value(EXCEPTIONS) == 0
    served.expect(IN_PROGRESS, 0, method="GET")


@IMPLEMENTATIONS
def test_client_that_leaves_a_slow_handler_is_499(serve: Any, implementation: str) -> None:
    served = serve(make_app(), {"http": implementation})
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        assert served.app.state.entered.wait(5)
    served.on_loop(asyncio.sleep(0.05))  # the server learns that the connection is gone
    served.app.state.release.set()
    served.expect_requests({("GET", "/hold", "499"): 1})
    assert served.log.line(message="request")["status_code"] == 499


@IMPLEMENTATIONS
def test_client_that_leaves_behind_a_middleware_of_the_host_is_499(serve: Any, implementation: str) -> None:
    app = make_app()

    @app.middleware("http")
    async def pass_on(request: Request, call_next: Any) -> Response:
        return await call_next(request)

    served = serve(app, {"http": implementation})
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"xxx" in client.recv(65536) + client.recv(65536)
    served.expect_requests({("GET", "/endless", "499"): 1})


@IMPLEMENTATIONS
def test_client_that_leaves_while_sending_is_499(serve: Any, implementation: str) -> None:
    served = serve(make_app(), {"http": implementation})
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly some")
        served.expect(IN_PROGRESS, 1, method="POST")
    served.expect_requests({("POST", "/echo", "499"): 1})


@IMPLEMENTATIONS
def test_client_that_closes_after_the_whole_answer_is_no_499(serve: Any, implementation: str) -> None:
    served = serve(make_app(), {"http": implementation})
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(b"GET /background HTTP/1.1\r\nHost: x\r\n\r\n")
            while b"answered" not in client.recv(65536):
                pass
    served.app.state.release.set()
    served.expect_requests({("GET", "/background", "200"): 10})


def test_bytes_of_request_and_response_bodies(served: Any) -> None:
    served.post("/echo", content=b"x" * 1234)
    served.post("/echo", content=b"y")
    for direction in ("request", "response"):
        served.expect(f"orchestrator_http_{direction}_body_bytes_total", 1235, method="POST", endpoint="/echo")


def test_bytes_of_a_chunked_request(served: Any) -> None:
    served.post("/echo", content=iter([b"a" * 1000, b"b" * 70_000, b"c"]))
    served.expect("orchestrator_http_request_body_bytes_total", 71_001, endpoint="/echo")


def test_bytes_of_a_chunked_response(served: Any) -> None:
    served.get("/stream")
    served.expect("orchestrator_http_response_body_bytes_total", 300, endpoint="/stream")


def test_bytes_of_large_bodies(served: Any) -> None:
    served.post("/echo", content=b"x" * 5_000_000)
    served.expect("orchestrator_http_request_body_bytes_total", 5_000_000, endpoint="/echo")
    served.expect("orchestrator_http_response_body_bytes_total", 5_000_000, endpoint="/echo")


def test_body_the_application_does_not_read_is_not_counted(served: Any) -> None:
    served.post("/ignore", content=b"x" * 10)
    served.expect_requests({("POST", "/ignore", "200"): 1})
    assert served.value("orchestrator_http_request_body_bytes_total", endpoint="/ignore") == 0


def test_own_endpoints_are_not_measured(served: Any) -> None:
    for path in ("/metrics", f"{MOUNT}/metrics", f"{MOUNT}/health", f"{MOUNT}/health/live", f"{MOUNT}/"):
        served.get(path)
    served.get("/quick")
    served.expect_requests({("GET", "/quick", "200"): 1})
    assert served.samples("orchestrator_plugin_http_requests_total") == []


def test_own_endpoints_are_measured_when_the_setting_says_so(serve: Any) -> None:
    served = serve(make_app(), INCLUDE_OWN_ENDPOINTS="true")
    served.get("/metrics")
    served.get(f"{MOUNT}/health/live")
    served.expect_requests({("GET", "/metrics", "200"): 1, ("GET", f"{MOUNT}/health/live", "200"): 1})
    served.expect("orchestrator_plugin_http_requests_total", 1, plugin_id="observability")


def test_metrics_path_of_the_hosts_own_is_measured(serve: Any) -> None:
    app = make_app()
    app.add_api_route("/metrics", lambda: "the host's own")
    served = serve(app)
    served.get("/metrics")
    served.expect_requests({("GET", "/metrics", "200"): 1})


def test_excluded_endpoints_are_not_measured(serve: Any) -> None:
    app = make_app()
    app.add_api_route("/internal/{name}", lambda name: name)
    served = serve(app, EXCLUDE_ENDPOINTS="/internal/*,/nothing")
    served.get("/internal/secret")
    served.get("/quick")
    served.expect_requests({("GET", "/quick", "200"): 1})


def test_measuring_can_be_switched_off(serve: Any) -> None:
    served = serve(make_app(), HTTP_METRICS="false")
    response = served.get("/quick", headers={"X-Request-ID": "mine"})
    assert response.headers["x-correlation-id"] == "mine"
    served.log.lines(1, message="request")
    assert served.requests() == {}
    assert served.samples(f"{SECONDS}_count") == []
    assert served.samples(IN_PROGRESS) == []


def test_buckets_follow_the_setting(serve: Any) -> None:
    served = serve(make_app(), HTTP_BUCKETS="0.5,30")
    served.get("/quick")
    served.expect(f"{SECONDS}_count", 1)
    bounds = [labels["le"] for labels, _ in served.samples(f"{SECONDS}_bucket")]
    assert bounds == ["0.5", "30.0", "+Inf"]


def test_pipelined_and_kept_alive_requests_are_counted_each(served: Any) -> None:
    for _ in range(70):
        served.get("/quick")
    request = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
    served.raw(request * 4 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    served.expect_requests({("GET", "/quick", "200"): 75})


def test_answer_whose_headers_are_left_out_is_measured(serve: Any) -> None:
    """`headers` is optional in an ASGI response."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    app = FastAPI()
    app.mount("/raw", answer)
    served = serve(app)
    response = served.get("/raw/x", headers={"X-Request-ID": "mine"})
    assert response.status_code == 204
    assert response.headers["x-correlation-id"] == "mine"
    served.expect_requests({("GET", "/raw/{path}", "204"): 1})
    assert served.internal_errors() == {}


@pytest.mark.parametrize("kind", [tuple, iter])
def test_headers_given_as_any_iterable_reach_the_client(serve: Any, kind: Any) -> None:
    """ASGI asks for an iterable of headers, not for a list."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        headers = kind([(b"content-type", b"text/special"), (b"content-length", b"3")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"raw"})

    app = FastAPI()
    app.mount("/raw", answer)
    response = serve(app).get("/raw/x", headers={"X-Request-ID": "mine"})
    assert response.headers["content-type"] == "text/special"
    assert response.headers["content-length"] == "3"
    assert response.headers["x-correlation-id"] == "mine"


def test_event_loop_lag_shows_a_blocked_loop(serve: Any) -> None:
    app = make_app()

    @app.get("/block")
    async def block() -> None:
        time.sleep(0.6)

    served = serve(app)
    served.get("/block")
    lag = served.value("orchestrator_process_event_loop_lag_seconds", process="api")
    assert 0.1 < lag < 5
