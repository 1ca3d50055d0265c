"""What the application sends stays its own, in whatever form ASGI allows; our headers are added to a copy."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse, Response

TIMING = re.compile(r"app;dur=\d+\.\d")
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def app_that_sends(*messages: Any) -> FastAPI:
    """Answers everything below /raw with these very message objects."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    app = FastAPI()
    app.mount("/raw", answer)
    return app


def test_message_that_is_sent_again_is_not_changed(serve: Any) -> None:
    before = {**START, "headers": list(START["headers"])}
    served = serve(app_that_sends(START, {"type": "http.response.body", "body": b"raw"}))
    for name in ("first", "second"):
        response = served.get("/raw/x", headers={"X-Request-ID": name})
        assert response.headers.get_list("x-request-id") == [name]
        assert response.headers.get_list("x-correlation-id") == [name]
        assert len(response.headers.get_list("server-timing")) == 1
    assert before == START


def test_websocket_message_that_is_sent_again_is_not_changed(serve: Any) -> None:
    from websockets.sync.client import connect

    accept = {"type": "websocket.accept", "headers": [(b"x-a", b"b")]}

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(accept)
        await send({"type": "websocket.close"})

    app = FastAPI()
    app.mount("/raw", answer)
    served = serve(app)
    for name in ("first", "second"):
        with connect(f"ws://127.0.0.1:{served.port}/raw/", additional_headers={"X-Request-ID": name}) as socket:
            assert socket.response.headers.get_all("x-request-id") == [name]
            assert socket.response.headers.get_all("x-correlation-id") == [name]
            assert socket.response.headers["x-a"] == "b"
    assert accept["headers"] == [(b"x-a", b"b")]


def test_header_names_of_the_application_may_have_any_case(serve: Any) -> None:
    headers = [(b"X-Request-ID", b"hosts"), (b"X-Correlation-Id", b"hosts-too"), (b"Content-Type", b"text/plain")]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    response = serve(app_that_sends(start, {"type": "http.response.body"})).get(
        "/raw/x", headers={"X-Request-ID": "mine"}
    )
    assert response.headers.get_list("x-request-id") == ["hosts"]
    assert response.headers.get_list("x-correlation-id") == ["mine"]


def test_header_names_may_be_text_where_the_server_takes_it(serve: Any) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [("X-Request-ID", "hosts")]}
    served = serve(app_that_sends(start, {"type": "http.response.body"}), {"http": "h11"})
    response = served.get("/raw/x", headers={"X-Request-ID": "mine"})
    assert response.headers.get_list("x-request-id") == ["hosts"]
    assert response.headers.get_list("x-correlation-id") == ["mine"]


def test_media_type_of_events_may_have_any_case(serve: Any) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"Text/Event-Stream")]}
    served = serve(app_that_sends(start, {"type": "http.response.body", "body": b"data: 1\n\n"}))
    served.get("/raw/x")
    served.expect("orchestrator_http_stream_messages_total", 1, endpoint="/raw/{path}")


def test_redirect_is_found_under_a_name_of_any_case(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/there", lambda: "there")
    target = {"type": "http.response.start", "status": 307, "headers": [(b"LOCATION", b"/there/")]}

    class Redirects:
        """Sends one path back, as a layer of the host before the router does."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == "/there/":
                await send(target)
                await send({"type": "http.response.body"})
            else:
                await self.app(scope, receive, send)

    app.add_middleware(Redirects)
    served = serve(app)
    served.get("/there/")
    served.expect("orchestrator_http_requests_total", 1, status_code="307")


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.start", "headers": []}],
        [{"type": "http.response.start", "status": 200, "headers": None}],
        [{"type": "http.response.start", "status": 200, "headers": [("text", "text")]}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"a", b"b", b"c")]}],
        [{"type": "http.response.start", "status": 200, "headers": iter([(b"a", b"b"), 5])}],
        [{"type": "http.response.start", "status": "200"}],
        [START, START],
        [START, {"type": "http.response.body", "body": None}],
        [START, {"type": "http.response.body", "body": 5}],
        [START, {"type": "http.response.body", "body": "text"}],
        [{"type": "http.response.body", "body": b"before its start"}],
        [START, {"type": "http.response.body", "body": b"x"}, {"type": "http.response.body", "body": b"more"}],
        [{"type": "unheard.of"}],
        [{}],
        [],
    ],
    ids=lambda messages: str(messages)[:60],
)
def test_malformed_messages_are_answered_as_without_us(serve: Any, serve_bare: Any, messages: list[Any]) -> None:
    request = b"GET /raw/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = []
    for start in (serve, serve_bare):
        if messages and "headers" in messages[0] and hasattr(messages[0]["headers"], "__next__"):
            messages = [{**messages[0], "headers": iter([(b"a", b"b"), 5])}]
        served = start(app_that_sends(*messages), {"date_header": False, "http": "httptools"})
        answers.append(without_ours(served.raw(request)))
    assert answers[0] == answers[1]


def without_ours(answer: bytes) -> bytes:
    return re.sub(rb"\r\n(?:x-request-id|x-correlation-id|server-timing): [^\r]*", b"", answer)


def test_every_answer_tells_how_long_it_took_to_begin(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/own", lambda: PlainTextResponse("own", headers={"Server-Timing": "db;dur=5"}))

    def crash() -> None:
        raise RuntimeError("unhandled")

    app.add_api_route("/crash", crash)
    served = serve(app)
    for path in ("/nowhere", "/crash", "/ext/observability/health/live"):
        assert TIMING.fullmatch(served.get(path).headers["server-timing"])
    database, own = served.get("/own").headers.get_list("server-timing")
    assert database == "db;dur=5"
    assert TIMING.fullmatch(own)


def test_timing_can_be_switched_off(serve: Any) -> None:
    served = serve(FastAPI(), SERVER_TIMING="false")
    response = served.get("/nowhere", headers={"X-Request-ID": "mine"})
    assert "server-timing" not in response.headers
    assert response.headers["x-correlation-id"] == "mine"


def test_body_of_a_head_request_is_not_counted(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/text", lambda: Response("x" * 100), methods=["GET", "HEAD"])
    served = serve(app)
    assert served.client.head("/text").headers["content-length"] == "100"
    served.get("/text")
    served.expect("orchestrator_http_response_body_bytes_total", 100, method="GET", endpoint="/text")
    served.expect("orchestrator_http_response_body_bytes_total", 0, method="HEAD", endpoint="/text")
    assert [line["response_bytes"] for line in served.log.lines(2, message="request")] == [0, 100]
