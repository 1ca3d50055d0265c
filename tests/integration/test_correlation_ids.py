"""Correlation and trace ids over a real server: accepted, replaced, visible to the host's code, sent back."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ordinaut_ext_observability import current_correlation_id, current_traceparent

GENERATED = re.compile(r"[0-9a-f]{32}")
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
REJECTED = "ordinaut_observability_request_ids_rejected_total"


def make_app() -> FastAPI:
    """Routes that tell which id they saw, and routes that fail in every way."""
    app = FastAPI()
    app.state.seen = []

    @app.get("/async")
    async def tell() -> dict[str, str | None]:
        return {"id": current_correlation_id(), "traceparent": current_traceparent()}

    @app.get("/sync")
    def tell_from_a_thread() -> dict[str, str | None]:
        return {"id": current_correlation_id(), "thread": threading.current_thread().name}

    @app.get("/background/{kind}")
    async def tell_later(kind: str, tasks: BackgroundTasks) -> None:
        def note() -> None:
            app.state.seen.append(current_correlation_id())

        async def note_async() -> None:
            note()

        tasks.add_task(note if kind == "sync" else note_async)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> Any:
            await asyncio.sleep(0)
            yield current_correlation_id()

        return StreamingResponse(pieces())

    @app.get("/handled")
    async def fail_as_expected() -> None:
        raise KeyError("handled")

    @app.get("/refused")
    async def refuse() -> None:
        raise HTTPException(404, "no such thing")

    @app.get("/number/{number}")
    async def take_number(number: int) -> int:
        return number

    @app.get("/unhandled")
    async def fail() -> None:
        raise RuntimeError("unhandled")

    @app.get("/own-id")
    async def set_own_id() -> Response:
        return PlainTextResponse("own", headers={"X-Request-ID": "of-the-host"})

    @app.get("/own-correlation-id")
    async def set_own_correlation_id() -> Response:
        return PlainTextResponse("own", headers={"X-Correlation-ID": "of-the-host"})

    @app.exception_handler(KeyError)
    async def handle(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"id": current_correlation_id()}, 500)

    return app


@pytest.fixture
def served(serve: Any) -> Any:
    return serve(make_app())


@pytest.mark.parametrize("header", ["X-Request-ID", "X-Correlation-ID", "x-request-id"])
def test_id_of_the_caller_is_used_and_sent_back(served: Any, header: str) -> None:
    response = served.get("/async", headers={header: "caller.id_1-2"})
    assert response.json()["id"] == "caller.id_1-2"
    assert response.headers.get_list("x-correlation-id") == ["caller.id_1-2"]
    assert response.headers.get_list("x-request-id") == ["caller.id_1-2"]


def test_request_id_wins_over_correlation_id(served: Any) -> None:
    response = served.get("/async", headers={"X-Correlation-ID": "second", "X-Request-ID": "first"})
    assert response.json()["id"] == "first"
    assert response.headers["x-correlation-id"] == "first"


def test_request_without_an_id_gets_one(served: Any) -> None:
    first, second = served.get("/async"), served.get("/async")
    assert GENERATED.fullmatch(first.json()["id"])
    assert first.headers["x-correlation-id"] == first.headers["x-request-id"] == first.json()["id"]
    assert first.json()["id"] != second.json()["id"]


def test_longest_id_is_used(served: Any) -> None:
    assert served.get("/async", headers={"X-Request-ID": "a" * 128}).json()["id"] == "a" * 128


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"a" * 129, "too_long"),
        (b"a" * 5000, "too_long"),
        (b"two words", "characters"),
        (b"semi;colon", "characters"),
        (b'quote"', "characters"),
        (b"\xc3\xa9", "characters"),
        (b"\xff", "characters"),
        (b"${jndi:ldap://x}", "characters"),
        (b"tab\tinside", "characters"),
    ],
)
def test_unusable_id_is_replaced_and_counted(served: Any, value: bytes, reason: str) -> None:
    response = served.get("/async", headers={b"X-Request-ID": value})
    assert GENERATED.fullmatch(response.json()["id"])
    assert response.headers["x-correlation-id"] == response.json()["id"]
    served.expect(REJECTED, 1, reason=reason)
    event = served.log.line(event_type="request_id_rejected")
    assert (event["level"], event["reason"], event["length"]) == ("WARNING", reason, len(value))


def test_many_unusable_ids_are_one_line_in_the_log(served: Any) -> None:
    for _ in range(20):
        served.get("/async", headers={"X-Request-ID": "not good"})
    served.expect(REJECTED, 20, reason="characters")
    served.log.lines(20, message="request")
    assert len(served.log.lines(1, event_type="request_id_rejected")) == 1


def test_empty_id_is_replaced(served: Any) -> None:
    response = served.get("/async", headers={"X-Request-ID": "", "X-Correlation-ID": ""})
    assert GENERATED.fullmatch(response.json()["id"])


def test_empty_request_id_leaves_the_correlation_id(served: Any) -> None:
    assert served.get("/async", headers={"X-Request-ID": "", "X-Correlation-ID": "usable"}).json()["id"] == "usable"


@pytest.mark.parametrize("implementation", ["h11", "httptools"])
@pytest.mark.parametrize(
    "value",
    [
        b"a\r\nX-Injected: yes",
        b"a\rX-Injected: yes",
        b"a\nX-Injected: yes",
        b"a\r\n X-Injected: yes",
        b"a\x00b",
        b"a\x1b[31m",
    ],
    ids=["crlf", "cr", "lf", "folded", "nul", "escape"],
)
def test_control_characters_never_come_back(serve: Any, implementation: str, value: bytes) -> None:
    """Whether the server refuses the request or passes it on, with or without the header cut in two."""
    served = serve(make_app(), {"http": implementation})
    answer = served.raw(b"GET /async HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: %b\r\n\r\n" % value)
    head, _, _ = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] in (b"200", b"400")
    assert b"injected" not in head.lower()
    for line in head.lower().split(b"\r\n"):
        if line.startswith((b"x-correlation-id:", b"x-request-id:")):
            assert re.fullmatch(rb"[a-z-]+: ([0-9a-f]{32}|a)", line)


def test_id_of_an_untrusted_address_is_replaced_and_logged(serve: Any) -> None:
    served = serve(make_app(), TRUST_REQUEST_IDS_FROM="10.0.0.0/8")
    response = served.get("/async", headers={"X-Request-ID": "outsider"})
    assert GENERATED.fullmatch(response.json()["id"])
    served.expect(REJECTED, 1, reason="untrusted_address")
    line = served.log.line(message="request")
    assert line["parent_request_id"] == "outsider"
    assert line["correlation_id"] == response.json()["id"]


def test_id_of_a_trusted_address_is_used(serve: Any) -> None:
    served = serve(make_app(), TRUST_REQUEST_IDS_FROM="127.0.0.1")
    assert served.get("/async", headers={"X-Request-ID": "insider"}).json()["id"] == "insider"
    assert "parent_request_id" not in served.log.line(message="request")


def test_unusable_id_of_an_untrusted_address_is_not_logged(serve: Any) -> None:
    served = serve(make_app(), TRUST_REQUEST_IDS_FROM="10.0.0.0/8")
    served.get("/async", headers={"X-Request-ID": "not good"})
    assert "parent_request_id" not in served.log.line(message="request")


def test_trace_of_the_caller_is_continued(served: Any) -> None:
    response = served.get("/async", headers={"traceparent": TRACEPARENT})
    version, trace_id, span_id, flags = response.json()["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE_ID, "01")
    assert span_id != SPAN_ID
    assert served.log.line(message="request")["trace_id"] == TRACE_ID


def test_unsampled_trace_stays_unsampled(served: Any) -> None:
    traceparent = served.get("/async", headers={"traceparent": f"{TRACEPARENT[:-1]}0"}).json()["traceparent"]
    assert traceparent.startswith(f"00-{TRACE_ID}-")
    assert traceparent.endswith("-00")


def test_trace_does_not_replace_the_correlation_id(served: Any) -> None:
    response = served.get("/async", headers={"traceparent": TRACEPARENT, "X-Request-ID": "caller"})
    assert response.json()["id"] == "caller"
    assert TRACE_ID in response.json()["traceparent"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"{TRACEPARENT}-more",
        TRACEPARENT[:-1],
    ],
)
def test_invalid_trace_is_replaced(served: Any, value: str) -> None:
    traceparent = served.get("/async", headers={"traceparent": value}).json()["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", traceparent)
    assert TRACE_ID not in traceparent


def test_trace_given_twice_is_replaced(served: Any) -> None:
    answer = served.get("/async", headers=[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)])
    assert TRACE_ID not in answer.json()["traceparent"]


def test_generated_correlation_id_is_the_trace_id(served: Any) -> None:
    answer = served.get("/async").json()
    assert answer["traceparent"].split("-")[1] == answer["id"]


def test_sync_endpoint_sees_the_id_in_its_thread(served: Any) -> None:
    answer = served.get("/sync", headers={"X-Request-ID": "threaded"}).json()
    assert answer["id"] == "threaded"
    assert answer["thread"] != "server under test"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_background_task_sees_the_id(served: Any, kind: str, eventually: Any) -> None:
    served.get(f"/background/{kind}", headers={"X-Request-ID": "later"})
    assert eventually(lambda: served.app.state.seen == ["later"])


def test_streaming_body_sees_the_id(served: Any) -> None:
    assert served.get("/stream", headers={"X-Request-ID": "streamed"}).text == "streamed"


def test_exception_handler_sees_the_id(served: Any) -> None:
    response = served.get("/handled", headers={"X-Request-ID": "failed"})
    assert response.status_code == 500
    assert response.json() == {"id": "failed"}


def test_handler_of_every_exception_sees_the_id(serve: Any) -> None:
    app = make_app()

    @app.exception_handler(Exception)
    async def handle(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"id": current_correlation_id()}, 500)

    response = serve(app).get("/unhandled", headers={"X-Request-ID": "failed"})
    assert response.json() == {"id": "failed"}
    assert response.headers["x-correlation-id"] == "failed"


def test_no_id_outside_of_a_request(served: Any) -> None:
    async def look() -> tuple[str | None, str | None]:
        return current_correlation_id(), current_traceparent()

    served.get("/async", headers={"X-Request-ID": "gone"})
    assert served.on_loop(look()) == (None, None)


@pytest.mark.parametrize("path", ["/async", "/unhandled"])
def test_id_of_the_surrounding_code_is_restored(served: Any, path: str) -> None:
    """Code that calls an application in its own task, as a test client or a gateway does."""
    from ordinaut_ext_observability.correlation.context import request_ids

    async def call() -> str | None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"x-request-id", b"inner")],
            "client": None,
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            pass

        request_ids.set(("outer", TRACE_ID, SPAN_ID, False))
        try:
            await served.app(scope, receive, send)
        except RuntimeError:
            assert path == "/unhandled"
        return current_correlation_id()

    assert served.on_loop(call()) == "outer"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/async", 200),
        ("/nowhere", 404),
        ("/refused", 404),
        ("/number/none", 422),
        ("/handled", 500),
        ("/unhandled", 500),
        ("/async/", 307),
    ],
)
def test_every_answer_carries_the_id(served: Any, path: str, status: int) -> None:
    response = served.get(path, headers={"X-Request-ID": "mine"})
    assert response.status_code == status
    assert response.headers.get_list("x-correlation-id") == ["mine"]
    assert response.headers.get_list("x-request-id") == ["mine"]


@pytest.mark.parametrize("implementation", ["h11", "httptools"])
@pytest.mark.parametrize("path", ["/unhandled", "/refused", "/number/none", "/nowhere", "/crash"])
def test_failed_answer_is_that_of_the_bare_host(serve: Any, serve_bare: Any, implementation: str, path: str) -> None:
    """`/crash` fails outside every handler of the application: the bare host leaves that answer to the server."""
    answers = []
    for start in (serve, serve_bare):
        app = make_app()
        app.add_api_route("/crash", _raise_runtime_error)
        if path == "/crash":
            app.add_exception_handler(Exception, _crash_in_the_handler)
        response = start(app, {"http": implementation, "date_header": False}).get(path)
        answers.append((response.status_code, response.content, _headers_of_the_host(response)))
    assert answers[0] == answers[1]


def _headers_of_the_host(response: Any) -> list[tuple[str, str]]:
    """Less ours."""
    left_out = {"x-request-id", "x-correlation-id", "server-timing"}
    return [(name, value) for name, value in response.headers.multi_items() if name not in left_out]


def _raise_runtime_error() -> None:
    raise RuntimeError("unhandled")


async def _crash_in_the_handler(request: Request, error: Exception) -> Response:
    raise TypeError("the handler itself")


def test_request_id_of_the_host_is_kept(served: Any) -> None:
    response = served.get("/own-id", headers={"X-Request-ID": "mine"})
    assert response.headers.get_list("x-request-id") == ["of-the-host"]
    assert response.headers.get_list("x-correlation-id") == ["mine"]


def test_correlation_id_of_the_host_gives_way(served: Any) -> None:
    response = served.get("/own-correlation-id", headers={"X-Request-ID": "mine"})
    assert response.headers.get_list("x-correlation-id") == ["mine"]


def test_thousand_concurrent_requests_keep_their_ids(serve: Any) -> None:
    """All are inside the endpoint at the same time before the first is answered."""
    number = 1000
    app = FastAPI()
    waiting: list[asyncio.Event] = []

    @app.get("/meet")
    async def meet() -> dict[str, str | None]:
        before = current_correlation_id()
        if not waiting:
            waiting.append(asyncio.Event())
            app.state.inside = 0
        app.state.inside += 1
        if app.state.inside == number:
            waiting[0].set()
        await asyncio.wait_for(waiting[0].wait(), 30)
        return {"before": before, "after": current_correlation_id()}

    async def ask(port: int, name: str) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /meet HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: {name}\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        return (
            f'{{"before":"{name}","after":"{name}"}}' in answer
            and f"x-correlation-id: {name}\r\n" in answer
            and f"x-request-id: {name}\r\n" in answer
        )

    async def ask_all(port: int) -> list[bool]:
        return await asyncio.gather(*(ask(port, f"id-{index}") for index in range(number)))

    served = serve(app)
    assert all(asyncio.run(ask_all(served.port)))
    served.expect_requests({("GET", "/meet", "200"): number})
    assert {line["correlation_id"] for line in served.log.lines(number, message="request")} == {
        f"id-{index}" for index in range(number)
    }
