"""WebSocket conversations of a plain ASGI application, right and wrong, by the last segment of the path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .raw_http import Act, OddError
from .seen import note, noted

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close", "code": 1000}
CONSTANT_ACCEPT = {"type": "websocket.accept", "headers": [(b"x-a", b"b")]}


def text(value: Any) -> dict[str, Any]:
    return {"type": "websocket.send", "text": value}


def accept(**more: Any) -> dict[str, Any]:
    return {**ACCEPT, **more}


def denial(headers: Any, status: Any = 403) -> list[dict[str, Any]]:
    return [
        {"type": "websocket.http.response.start", "status": status, "headers": headers},
        {"type": "websocket.http.response.body", "body": b"denied"},
    ]


def sends(*messages: Any, failure: Callable[[], BaseException] | None = None) -> Act:
    """An application that takes the connection event, sends these messages and may raise."""

    async def act(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            with noted():
                await send(dict(message) if isinstance(message, dict) and message is not CONSTANT_ACCEPT else message)
        if failure is not None:
            raise failure()

    return act


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Returns everything until the client closes."""
    note((await receive())["type"])
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", **{key: message[key] for key in ("text", "bytes") if message.get(key)}})
    note(f"{message['type']} {message.get('code')}")


async def sends_after_disconnect(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    try:
        await send(text("late"))
        note("sent")
    except Exception as error:
        note(type(error).__name__)


async def raises_on_message(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    raise RuntimeError("while it was open")


CONVERSATIONS: dict[str, Act] = {
    "echo": echo,
    "late": sends_after_disconnect,
    "raise-on-message": raises_on_message,
    "plain": sends(ACCEPT, text("hello"), CLOSE),
    "bytes": sends(ACCEPT, {"type": "websocket.send", "bytes": b"\x00\xff"}, CLOSE),
    "bytes-and-none": sends(ACCEPT, {"type": "websocket.send", "bytes": b"x", "text": None}, CLOSE),
    "nothing-sent": sends(ACCEPT, {"type": "websocket.send"}, CLOSE),
    "number-sent": sends(ACCEPT, text(7), CLOSE),
    "big": sends(ACCEPT, text("x" * 70_000), CLOSE),
    "constant": sends(CONSTANT_ACCEPT, CLOSE),
    "headers": sends(accept(headers=[(b"x-a", b"1"), (b"x-a", b"2"), (b"set-cookie", b"c=1")]), CLOSE),
    "headers-none": sends(accept(headers=None), CLOSE),
    "headers-empty": sends(accept(headers=[]), CLOSE),
    "headers-tuple": sends(accept(headers=((b"x-a", b"1"),)), CLOSE),
    "headers-lists": sends(accept(headers=[[b"x-a", b"1"]]), CLOSE),
    "headers-text": sends(accept(headers=[("x-a", "1")]), CLOSE),
    "headers-triple": sends(accept(headers=[(b"a", b"b", b"c")]), CLOSE),
    "headers-number": sends(accept(headers=7), CLOSE),
    "headers-upper": sends(accept(headers=[(b"X-Upper", b"1"), (b"X-REQUEST-ID", b"own-1")]), CLOSE),
    "own-ids": sends(accept(headers=[(b"x-request-id", b"own-1"), (b"x-correlation-id", b"own-2")]), CLOSE),
    "subprotocol": sends(accept(subprotocol="chat"), text("hello"), CLOSE),
    "subprotocol-header": sends(accept(headers=[(b"sec-websocket-protocol", b"chat")]), CLOSE),
    "subprotocol-none": sends(accept(subprotocol=None), CLOSE),
    "subprotocol-number": sends(accept(subprotocol=7), CLOSE),
    "refused": sends(CLOSE),
    "refused-code": sends({"type": "websocket.close", "code": 4001, "reason": "no"}),
    "close-no-code": sends(ACCEPT, {"type": "websocket.close"}),
    "close-code": sends(ACCEPT, {"type": "websocket.close", "code": 4002, "reason": "enough"}),
    "close-odd-code": sends(ACCEPT, {"type": "websocket.close", "code": "x"}),
    "close-twice": sends(ACCEPT, CLOSE, CLOSE),
    "denial": sends(*denial([(b"content-type", b"text/plain"), (b"content-length", b"6")])),
    "denial-length-missing": sends(*denial([(b"content-type", b"text/plain")], 401)),
    "denial-headers-none": sends(*denial(None)),
    "denial-headers-upper": sends(*denial([(b"X-Request-ID", b"own-3"), (b"Content-Length", b"6")])),
    "denial-no-headers": sends({"type": "websocket.http.response.start", "status": 403}, denial([])[1]),
    "denial-no-status": sends({"type": "websocket.http.response.start", "headers": []}, denial([])[1]),
    "denial-part": sends(denial([])[0]),
    "denial-in-parts": sends(denial([])[0], {**denial([])[1], "more_body": True}, denial([])[1]),
    "denial-then-accept": sends(*denial([]), ACCEPT),
    "denial-raise": sends(denial([])[0], failure=lambda: RuntimeError("in a denial")),
    "return-before-accept": sends(),
    "return-after-accept": sends(ACCEPT),
    "accept-twice": sends(ACCEPT, ACCEPT),
    "send-before-accept": sends(text("early")),
    "send-after-close": sends(ACCEPT, CLOSE, text("late")),
    "unknown": sends(ACCEPT, {"type": "websocket.unknown"}),
    "no-type": sends(ACCEPT, {"text": "x"}),
    "http-message": sends({"type": "http.response.start", "status": 200, "headers": []}),
    "raise": sends(failure=lambda: RuntimeError("before accept")),
    "raise-base": sends(failure=lambda: OddError("before accept")),
    "raise-cancelled": sends(failure=asyncio.CancelledError),
    "raise-group": sends(failure=lambda: ExceptionGroup("group", [ValueError("a")])),
    "accept-raise": sends(ACCEPT, failure=lambda: RuntimeError("after accept")),
    "accept-raise-base": sends(ACCEPT, failure=lambda: OddError("after accept")),
    "accept-raise-cancelled": sends(ACCEPT, failure=asyncio.CancelledError),
    "accept-raise-group": sends(ACCEPT, failure=lambda: ExceptionGroup("group", [ValueError("a")])),
    "close-raise": sends(ACCEPT, CLOSE, failure=lambda: RuntimeError("after close")),
    "refused-raise": sends(CLOSE, failure=lambda: RuntimeError("after refusal")),
}


async def raw_websocket(scope: Any, receive: Any, send: Any) -> None:
    await CONVERSATIONS[scope["path"].rpartition("/")[2]](scope, receive, send)
