"""HTTP answers of a plain ASGI application, right and wrong, by the last segment of the path.

Wrong messages are what applications in the wild send; each server has its own way with them, which is to stay.
"""

from __future__ import annotations

import asyncio
import http
import types
from collections import UserDict
from collections.abc import Awaitable, Callable
from typing import Any

from .seen import note, noted

Act = Callable[[Any, Any, Any], Awaitable[None]]

TEXT = [(b"content-type", b"text/plain")]
TWO = [(b"content-length", b"2")]


class OddError(BaseException):
    """Not an `Exception`."""


class FalseError(Exception):
    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        raise ValueError("has no text")


class ClosingDict(dict):  # type: ignore[type-arg]
    """A message that cannot be changed once it is made."""

    def __setitem__(self, *_: Any) -> None:
        raise TypeError("constant")


def start(headers: Any = TEXT, status: Any = 200, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: Any = b"ok", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


def without(message: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != key}


def sends(*makers: Callable[[], Any]) -> Act:
    """An application that sends these messages one after the other."""

    async def act(scope: Any, receive: Any, send: Any) -> None:
        for make in makers:
            with noted():
                await send(make())

    return act


def raises(make: Callable[[], BaseException], *before: Callable[[], Any]) -> Act:
    """An application that raises after these messages."""

    async def act(scope: Any, receive: Any, send: Any) -> None:
        for message in before:
            await send(message())
        raise make()

    return act


def headers(value: Callable[[], Any], status: Any = 200) -> Act:
    return sends(lambda: start(value(), status), body)


CONSTANT_START = start([(b"content-type", b"text/plain"), (b"content-length", b"2")])
CONSTANT_TUPLES = start(((b"content-length", b"2"), (b"x-constant", b"yes")))
CONSTANT_BODY = body()
CONSTANT_NO_HEADERS = without(start(), "headers")


async def read_body(scope: Any, receive: Any, send: Any) -> None:
    data, more = b"", True
    while more:
        message = await receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
    await send(start())
    await send(body(b"read %d" % len(data)))


async def read_past_the_end(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(start(TWO))
    await send(body())
    note((await receive())["type"])


async def disconnected(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    note("disconnected")


async def disconnected_then_raises(scope: Any, receive: Any, send: Any) -> None:
    await disconnected(scope, receive, send)
    raise RuntimeError("after the client left")


async def disconnected_then_raises_odd(scope: Any, receive: Any, send: Any) -> None:
    await disconnected(scope, receive, send)
    raise OddError("after the client left")


async def disconnected_then_sends(scope: Any, receive: Any, send: Any) -> None:
    await disconnected(scope, receive, send)
    with noted():
        await send(start())
        await send(body())


async def first_chunk_then_disconnected(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(b"first", more_body=True))
    await disconnected(scope, receive, send)


async def cancels_itself(scope: Any, receive: Any, send: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def cancelled_inside_and_caught(scope: Any, receive: Any, send: Any) -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        note("cancelled")
    await send(start())
    await send(body())


async def timeout_inside(scope: Any, receive: Any, send: Any) -> None:
    async with asyncio.timeout(0):
        await asyncio.sleep(60)


async def group_of_tasks(scope: Any, receive: Any, send: Any) -> None:
    async def fail() -> None:
        raise OSError("a task failed")

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


async def fails_while_a_send_is_refused(scope: Any, receive: Any, send: Any) -> None:
    """Sends wrongly, catches what the server says, then answers rightly."""
    try:
        await send({"type": "http.response.start"})
    except Exception as error:
        note(f"{type(error).__name__}: {error}")
    await send(start())
    await send(body())


async def changes_its_message_afterwards(scope: Any, receive: Any, send: Any) -> None:
    message = start(list(TEXT))
    await send(message)
    note(repr(sorted(message)) + repr(message["headers"]))
    message["headers"].append((b"x-late", b"yes"))
    await send(body())


async def fifty_chunks(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    for number in range(50):
        await send(body(b"chunk %d\n" % number, more_body=True))
    await send(body(b""))


async def half_a_megabyte(scope: Any, receive: Any, send: Any) -> None:
    await send(start([(b"content-length", b"524288")]))
    await send(body(b"x" * 524288))


def _header_generator() -> Any:
    yield (b"content-type", b"text/plain")
    yield (b"x-generated", b"yes")


def _failing_generator() -> Any:
    yield (b"content-type", b"text/plain")
    raise ValueError("the generator failed")


def failing(where: Callable[[Callable[[], BaseException]], Act]) -> dict[str, Act]:
    """The same failures at one place."""
    return {
        "exception": where(lambda: RuntimeError("boom")),
        "group": where(lambda: ExceptionGroup("group", [ValueError("a"), KeyError("b")])),
        "base": where(lambda: OddError("odd")),
        "base-group": where(lambda: BaseExceptionGroup("group", [OddError("a"), ValueError("b")])),
        "cancelled": where(asyncio.CancelledError),
        "generator-exit": where(GeneratorExit),
        "reset": where(lambda: ConnectionResetError("a database's")),
        "broken-pipe": where(lambda: BrokenPipeError("a pipe of its own")),
        "os-error": where(lambda: OSError("a disk's")),
        "timeout": where(TimeoutError),
        "stop-iteration": where(StopIteration),
        "memory": where(MemoryError),
        "false": where(FalseError),
        "odd-name": where(type("Odd\nñame", (Exception,), {})),
        "system-exit": where(lambda: SystemExit(3)),
        "keyboard-interrupt": where(KeyboardInterrupt),
    }


RAISED_BEFORE = failing(raises)
RAISED_AFTER_START = failing(lambda make: raises(make, start))
RAISED_AFTER_CHUNK = failing(lambda make: raises(make, start, lambda: body(b"some", more_body=True)))
RAISED_AFTER_END = failing(lambda make: raises(make, lambda: start(TWO), body))

ANSWERS: dict[str, Act] = {
    "ok": headers(lambda: list(TEXT)),
    "length": headers(lambda: list(TWO)),
    "read-body": read_body,
    "read-past-the-end": read_past_the_end,
    "chunks": fifty_chunks,
    "half-a-megabyte": half_a_megabyte,
    "cancels-itself": cancels_itself,
    "cancelled-and-caught": cancelled_inside_and_caught,
    "timeout-inside": timeout_inside,
    "group-of-tasks": group_of_tasks,
    "disconnected": disconnected,
    "disconnected-then-raises": disconnected_then_raises,
    "disconnected-then-raises-odd": disconnected_then_raises_odd,
    "disconnected-then-sends": disconnected_then_sends,
    "first-chunk": first_chunk_then_disconnected,
    "no-answer": sends(),
    "start-only": sends(start),
    "start-only-length": sends(lambda: start(TWO)),
    "start-and-part": sends(start, lambda: body(b"part", more_body=True)),
    "own-request-id": headers(lambda: [(b"x-request-id", b"own-1"), *TEXT]),
    "own-request-id-upper": headers(lambda: [(b"X-Request-ID", b"own-2"), *TEXT]),
    "own-request-id-twice": headers(lambda: [(b"x-request-id", b"own-3"), *TEXT, (b"X-Request-Id", b"own-4")]),
    "own-correlation-id": headers(lambda: [(b"x-correlation-id", b"own-5"), *TEXT]),
    "own-correlation-id-upper": headers(lambda: [(b"X-Correlation-ID", b"own-6"), (b"x-after", b"yes"), *TEXT]),
    "own-both": headers(lambda: [(b"X-REQUEST-ID", b"own-7"), *TEXT, (b"x-Correlation-id", b"own-8")]),
    "own-timing": headers(lambda: [(b"server-timing", b"own;dur=5"), *TEXT]),
    "own-timing-upper": headers(lambda: [(b"Server-Timing", b"own;dur=5, db;desc=x"), *TEXT]),
    "own-timing-named-app": headers(lambda: [(b"server-timing", b"app;dur=5;desc=own"), *TEXT]),
    "own-timing-twice": headers(lambda: [(b"server-timing", b"own;dur=5"), (b"server-timing", b"own2"), *TEXT]),
    "cookies": headers(lambda: [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"Set-Cookie", b"a=3")]),
    "many-headers": headers(lambda: [(b"x-number-%d" % number, b"v" * 40) for number in range(120)]),
    "events": headers(lambda: [(b"content-type", b"text/event-stream")]),
    "events-upper": headers(lambda: [(b"Content-Type", b"Text/Event-Stream; charset=utf-8")]),
    "redirect": headers(lambda: [(b"location", b"/elsewhere")], 307),
    "redirect-odd": headers(lambda: [(b"Location", b"http://[bad\xff")], 307),
    "redirect-nowhere": headers(lambda: list(TEXT), 307),
    "204": sends(lambda: start([], 204), lambda: body(b"")),
    "204-with-body": sends(lambda: start([], 204), body),
    "204-with-length": sends(lambda: start(TWO, 204), body),
    "205": sends(lambda: start([], 205), lambda: body(b"")),
    "304": sends(lambda: start([(b"etag", b'"x"')], 304), lambda: body(b"")),
    "304-with-body": sends(lambda: start([(b"etag", b'"x"')], 304), body),
    "304-with-length": sends(lambda: start(TWO, 304), lambda: body(b"")),
    "status-as-enum": headers(lambda: list(TEXT), http.HTTPStatus.CREATED),
    "status-as-text": headers(lambda: list(TEXT), "200"),
    "status-none": headers(lambda: list(TEXT), None),
    "status-true": headers(lambda: list(TEXT), True),
    "status-float": headers(lambda: list(TEXT), 200.0),
    "status-100": headers(lambda: list(TEXT), 100),
    "status-101": headers(lambda: list(TEXT), 101),
    "status-299": headers(lambda: list(TEXT), 299),
    "status-599": headers(lambda: list(TEXT), 599),
    "status-999": headers(lambda: list(TEXT), 999),
    "status-1000": headers(lambda: list(TEXT), 1000),
    "status-negative": headers(lambda: list(TEXT), -1),
    "status-missing": sends(lambda: without(start(), "status"), body),
    "headers-missing": sends(lambda: without(start(), "headers"), body),
    "headers-none": headers(lambda: None),
    "headers-empty": headers(list),
    "headers-tuple": headers(lambda: tuple(TEXT)),
    "headers-of-lists": headers(lambda: [[b"content-type", b"text/plain"], [b"x-a", b"b"]]),
    "headers-generator": headers(_header_generator),
    "headers-failing-generator": headers(_failing_generator),
    "headers-dict": headers(lambda: {b"content-type": b"text/plain"}),
    "headers-items": headers(lambda: {b"content-type": b"text/plain"}.items()),
    "headers-text": headers(lambda: [("content-type", "text/plain")]),
    "headers-text-name": headers(lambda: [("x-request-id", b"own-9")]),
    "headers-text-value": headers(lambda: [(b"x-request-id", "own-10")]),
    "headers-bytearray": headers(lambda: [(bytearray(b"content-type"), bytearray(b"text/plain"))]),
    "headers-memoryview": headers(lambda: [(memoryview(b"content-type"), memoryview(b"text/plain"))]),
    "headers-upper": headers(lambda: [(b"Content-Type", b"text/plain"), (b"X-UPPER", b"Yes")]),
    "headers-upper-length": headers(lambda: [(b"CONTENT-LENGTH", b"2")]),
    "headers-triple": headers(lambda: [(b"a", b"b", b"c")]),
    "headers-single": headers(lambda: [(b"a",)]),
    "headers-number": headers(lambda: 7),
    "headers-none-inside": headers(lambda: [None]),
    "headers-number-value": headers(lambda: [(b"x-number", 7)]),
    "headers-list-name": headers(lambda: [([], b"unhashable")]),
    "headers-empty-name": headers(lambda: [(b"", b"x")]),
    "headers-empty-value": headers(lambda: [(b"x-empty", b"")]),
    "headers-spaced": headers(lambda: [(b" x-spaced ", b" v ")]),
    "headers-injected": headers(lambda: [(b"x-injected", b"a\r\nx-other: b")]),
    "headers-zero": headers(lambda: [(b"x-zero", b"a\x00b")]),
    "headers-latin": headers(lambda: [(b"x-latin", "é".encode("latin-1")), (b"x-\xff", b"y")]),
    "headers-transfer-encoding": headers(lambda: [(b"Transfer-Encoding", b"chunked")]),
    "headers-connection-close": headers(lambda: [(b"Connection", b"close"), *TWO]),
    "headers-connection-list": headers(lambda: [(b"connection", b"keep-alive, close"), *TWO]),
    "headers-server-and-date": headers(lambda: [(b"server", b"mine"), (b"date", b"never"), *TWO]),
    "length-too-long": headers(lambda: [(b"content-length", b"9")]),
    "length-too-short": headers(lambda: [(b"content-length", b"1")]),
    "length-nonsense": headers(lambda: [(b"content-length", b"two")]),
    "length-twice": headers(lambda: [*TWO, *TWO]),
    "body-none": sends(start, lambda: body(None)),
    "body-text": sends(start, lambda: body("ok")),
    "body-bytearray": sends(start, lambda: body(bytearray(b"ok"))),
    "body-memoryview": sends(start, lambda: body(memoryview(b"ok"))),
    "body-number": sends(start, lambda: body(7)),
    "body-missing": sends(start, lambda: {"type": "http.response.body"}),
    "body-more-none": sends(start, lambda: body(more_body=None)),
    "body-more-text": sends(start, lambda: body(more_body="no"), body),
    "body-empty-more": sends(start, lambda: body(b"", more_body=True), body),
    "type-missing": sends(lambda: {"status": 200}),
    "type-none": sends(lambda: {**start(), "type": None}),
    "type-unknown": sends(lambda: {"type": "http.response.unknown"}),
    "type-unknown-between": sends(start, lambda: {"type": "http.response.unknown"}, body),
    "type-websocket": sends(lambda: {"type": "websocket.accept"}),
    "message-none": sends(lambda: None),
    "message-list": sends(list),
    "message-proxy": sends(lambda: types.MappingProxyType(start()), lambda: types.MappingProxyType(body())),
    "message-user-dict": sends(lambda: UserDict(start()), lambda: UserDict(body())),
    "message-constant-dict": sends(lambda: ClosingDict(start()), lambda: ClosingDict(body())),
    "message-more-keys": sends(lambda: start(other=object()), lambda: body(other=1)),
    "start-twice": sends(start, start, body),
    "start-after-end": sends(start, body, start),
    "body-first": sends(body, start),
    "body-after-end": sends(start, body, body),
    "end-twice-empty": sends(start, body, lambda: body(b"")),
    "sent-wrongly-then-rightly": fails_while_a_send_is_refused,
    "changed-afterwards": changes_its_message_afterwards,
    "constant": sends(lambda: CONSTANT_START, lambda: CONSTANT_BODY),
    "constant-tuples": sends(lambda: CONSTANT_TUPLES, lambda: CONSTANT_BODY),
    "constant-no-headers": sends(lambda: CONSTANT_NO_HEADERS, lambda: CONSTANT_BODY),
    "pathsend": sends(start, lambda: {"type": "http.response.pathsend", "path": __file__ + "x"}),
    "zerocopysend": sends(start, lambda: {"type": "http.response.zerocopysend", "file": 0}),
    "trailers": sends(
        lambda: start([(b"trailer", b"x-t"), *TEXT], trailers=True),
        body,
        lambda: {"type": "http.response.trailers", "headers": [(b"x-t", b"1")]},
    ),
    "trailers-text": sends(lambda: start(trailers="yes"), body),
    "early-hint": sends(lambda: {"type": "http.response.early_hint", "links": [b"</a>"]}, start, body),
    "push": sends(lambda: {"type": "http.response.push", "path": "/a", "headers": []}, start, body),
    "debug": sends(lambda: {"type": "http.response.debug", "info": {"a": 1}}, start, body),
    **{f"raise-{name}": act for name, act in RAISED_BEFORE.items()},
    **{f"start-raise-{name}": act for name, act in RAISED_AFTER_START.items()},
    **{f"chunk-raise-{name}": act for name, act in RAISED_AFTER_CHUNK.items()},
    **{f"end-raise-{name}": act for name, act in RAISED_AFTER_END.items()},
}


async def raw_http(scope: Any, receive: Any, send: Any) -> None:
    await ANSWERS[scope["path"].rpartition("/")[2]](scope, receive, send)
