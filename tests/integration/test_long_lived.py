"""Server-sent events and WebSocket connections: families of their own, apart from the request histogram."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect, WebSocketException
from fastapi.responses import StreamingResponse
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ordinaut_ext_observability import current_correlation_id

SECONDS = "orchestrator_http_request_duration_seconds"
STREAMS_OPEN = "orchestrator_http_streams_open"
SOCKETS_OPEN = "orchestrator_websocket_connections_open"
SOCKETS = "orchestrator_websocket_connections_total"
MESSAGES = "orchestrator_websocket_messages_total"
BYTES = "orchestrator_websocket_message_bytes_total"
EXCEPTIONS = "orchestrator_http_exceptions_total"


def make_app() -> FastAPI:
    app = FastAPI()
    app.state.release = False

    @app.get("/events/{topic}")
    async def events(topic: str) -> StreamingResponse:
        async def pieces() -> Any:
            yield "data: first\n\n"
            while not app.state.release:
                await asyncio.sleep(0.005)
            yield "data: second\n\n"
            yield "data: third\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    @app.websocket("/echo/{room}")
    async def echo(websocket: WebSocket, room: str) -> None:
        await websocket.accept()
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if message.get("text") == "leave":
                    await websocket.close(4000)
                    return
                if message.get("text") == "fail":
                    raise RuntimeError("inside")
                await websocket.send(
                    {"type": "websocket.send", **{key: message[key] for key in ("text", "bytes") if message.get(key)}}
                )
        except WebSocketDisconnect:
            pass

    @app.websocket("/id")
    async def tell_id(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(current_correlation_id()))
        await websocket.close()

    @app.websocket("/refused")
    async def refuse(websocket: WebSocket) -> None:
        raise WebSocketException(1008)

    @app.websocket("/closed-at-once")
    async def close_at_once(websocket: WebSocket) -> None:
        await websocket.close()

    @app.websocket("/fails-before")
    async def fail_before(websocket: WebSocket) -> None:
        raise RuntimeError("before accept")

    return app


@pytest.fixture
def served(serve: Any) -> Any:
    return serve(make_app())


def open_socket(served: Any, path: str, **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{served.port}{path}", proxy=None, **options)


def read_stream(served: Any, path: str = "/events/news") -> bytes:
    with served.client.stream("GET", path) as response:
        pieces = response.iter_raw()
        first = next(pieces)
        served.expect(STREAMS_OPEN, 1, endpoint="/events/{topic}")
        served.app.state.release = True
        return first + b"".join(pieces)


def test_stream_is_open_until_it_ends(served: Any) -> None:
    read_stream(served)
    served.expect(STREAMS_OPEN, 0, endpoint="/events/{topic}")


def test_stream_is_timed_apart_from_requests(served: Any) -> None:
    read_stream(served)
    served.expect("orchestrator_http_stream_duration_seconds_count", 1, endpoint="/events/{topic}")
    assert served.value(f"{SECONDS}_count", endpoint="/events/{topic}") == 0


def test_stream_is_counted_as_a_request_with_its_bytes(served: Any) -> None:
    body = read_stream(served)
    served.expect_requests({("GET", "/events/{topic}", "200"): 1})
    served.expect("orchestrator_http_response_body_bytes_total", len(body), endpoint="/events/{topic}")


def test_messages_of_a_stream_are_counted(served: Any) -> None:
    """Three events; the empty end of the body is none."""
    read_stream(served)
    served.expect("orchestrator_http_stream_messages_total", 3, endpoint="/events/{topic}")


def test_stream_is_not_in_progress(served: Any) -> None:
    served.get("/openapi-not-there")
    with served.client.stream("GET", "/events/news") as response:
        pieces = response.iter_raw()  # kept: the stream is closed with it
        next(pieces)
        served.expect(STREAMS_OPEN, 1)
        assert served.value("orchestrator_http_requests_in_progress") == 0
        served.app.state.release = True


def test_client_that_leaves_a_stream_closes_it(served: Any) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET /events/news HTTP/1.1\r\nHost: x\r\n\r\n")
        served.expect(STREAMS_OPEN, 1, endpoint="/events/{topic}")
    served.expect(STREAMS_OPEN, 0, endpoint="/events/{topic}")
    served.expect_requests({("GET", "/events/{topic}", "499"): 1})


def test_stream_at_the_end_of_the_server_is_closed(served: Any) -> None:
    """A server that stops cancels what still runs."""
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET /events/news HTTP/1.1\r\nHost: x\r\n\r\n")
        served.expect(STREAMS_OPEN, 1)
        served.stop()
    served.expect(STREAMS_OPEN, 0)


def test_connection_is_open_until_it_ends(served: Any) -> None:
    with open_socket(served, "/echo/a") as first:
        served.expect(SOCKETS_OPEN, 1, endpoint="/echo/{room}")
        with open_socket(served, "/echo/b"):
            served.expect(SOCKETS_OPEN, 2, endpoint="/echo/{room}")
        served.expect(SOCKETS_OPEN, 1, endpoint="/echo/{room}")
        first.send("still there")
        assert first.recv(5) == "still there"
    served.expect(SOCKETS_OPEN, 0, endpoint="/echo/{room}")


def test_connection_is_timed_apart_from_requests(served: Any) -> None:
    with open_socket(served, "/echo/a"):
        pass
    served.expect("orchestrator_websocket_connection_duration_seconds_count", 1, endpoint="/echo/{room}")
    assert served.requests() == {}
    assert served.samples(f"{SECONDS}_count") == []
    assert served.value("orchestrator_http_requests_in_progress") == 0


def test_messages_and_bytes_in_both_directions(served: Any) -> None:
    with open_socket(served, "/echo/a") as connection:
        for message in ("plain", "é€", b"\x00\xff\xfe"):
            connection.send(message)
            assert connection.recv(5) == message
    for direction in ("received", "sent"):
        served.expect(MESSAGES, 3, endpoint="/echo/{room}", direction=direction)
        served.expect(BYTES, 5 + 5 + 3, endpoint="/echo/{room}", direction=direction)


@pytest.mark.parametrize(("code", "label"), [(1000, "1000"), (1001, "1001"), (4321, "4321")])
def test_close_code_of_the_client(served: Any, code: int, label: str) -> None:
    with open_socket(served, "/echo/a") as connection:
        connection.close(code)
    served.expect(SOCKETS, 1, endpoint="/echo/{room}", close_code=label)
    served.expect(SOCKETS, 1)


def test_close_code_of_the_application(served: Any) -> None:
    with open_socket(served, "/echo/a") as connection:
        connection.send("leave")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(5)
        assert closed.value.rcvd.code == 4000
    served.expect(SOCKETS, 1, endpoint="/echo/{room}", close_code="4000")


def test_connection_that_breaks_off_is_1006_or_1005(served: Any) -> None:
    with open_socket(served, "/echo/a") as connection:
        connection.socket.shutdown(socket.SHUT_RDWR)
    served.expect(SOCKETS, 1, endpoint="/echo/{room}")
    ((labels, _),) = served.samples(SOCKETS)
    assert labels["close_code"] in ("1005", "1006", "1012")
    served.expect(SOCKETS_OPEN, 0)


@pytest.mark.parametrize("path", ["/refused", "/closed-at-once"])
def test_refusal_before_accept_is_403(served: Any, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused, open_socket(served, path):
        pass
    assert refused.value.response.status_code == 403
    served.expect(SOCKETS, 1, endpoint=path, close_code="403")
    assert served.samples("orchestrator_websocket_connection_duration_seconds_count") == []
    assert served.value(SOCKETS_OPEN) == 0
    assert served.value(EXCEPTIONS) == 0


def test_unknown_path_is_unmatched(served: Any) -> None:
    with pytest.raises(InvalidStatus), open_socket(served, "/nowhere/secret"):
        pass
    served.expect(SOCKETS, 1, endpoint="<unmatched>", close_code="403")


def test_exception_inside_is_1011_and_counted_once(served: Any) -> None:
    with open_socket(served, "/echo/a") as connection:
        connection.send("fail")
        with pytest.raises(ConnectionClosed):
            connection.recv(5)
    served.expect(SOCKETS, 1, endpoint="/echo/{room}", close_code="1011")
    served.expect(EXCEPTIONS, 1, method="WEBSOCKET", endpoint="/echo/{room}", exception_type="RuntimeError")
    served.expect(SOCKETS_OPEN, 0)


def test_exception_before_accept_is_counted(served: Any) -> None:
    with pytest.raises(InvalidStatus) as refused, open_socket(served, "/fails-before"):
        pass
    assert refused.value.response.status_code == 500
    served.expect(EXCEPTIONS, 1, method="WEBSOCKET", endpoint="/fails-before", exception_type="RuntimeError")
    served.expect(SOCKETS, 1, endpoint="/fails-before")
    assert served.value(SOCKETS_OPEN) == 0


def test_ids_reach_the_endpoint_and_the_handshake(served: Any) -> None:
    with open_socket(served, "/id", additional_headers={"X-Request-ID": "mine"}) as connection:
        assert connection.recv(5) == "mine"
        assert connection.response.headers.get_all("X-Correlation-ID") == ["mine"]
        assert connection.response.headers.get_all("X-Request-ID") == ["mine"]


def test_connections_keep_their_ids_apart(served: Any) -> None:
    names = [f"id-{number}" for number in range(20)]
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(open_socket(served, "/id", additional_headers={"X-Request-ID": name})) for name in names
        ]
        assert [connection.recv(5) for connection in connections] == names
