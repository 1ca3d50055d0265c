"""One WebSocket connection: what passes over it and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

from starlette.types import Message, Receive, Scope, Send

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.web.exchange import Exchange
from ordinaut_ext_observability.web.recorder import RequestRecorder

NORMAL_CLOSURE = 1000
NO_STATUS_RECEIVED = 1005
INTERNAL_ERROR = 1011
REFUSED = 403  # counted for a connection closed before it was accepted: the server's answer to the handshake


class WebSocketExchange(Exchange):
    """The facts of one connection. Close codes: RFC 6455, section 7.4.1."""

    _accepted_endpoint: str | None = None
    _close_code = 0

    def __init__(self, recorder: RequestRecorder, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(recorder, scope, receive, send)
        self._messages: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    async def receive(self) -> Message:
        """Pass a message on to the application, counting it."""
        message = await self._receive()
        kind = message["type"]
        if kind == "websocket.receive":
            self._count("received", message)
        elif kind == "websocket.disconnect" and not self._close_code:
            self._close_code = message.get("code") or NO_STATUS_RECEIVED
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on to the server, counting it; where a response begins, with our headers."""
        try:
            kind = message["type"]
            if kind == "websocket.send":
                self._count("sent", message)
            elif kind == "websocket.accept":
                message = self._begin(message, message.get("headers", []))
                self._accepted_endpoint = self.endpoint()
                self._recorder.metrics.websockets_open.labels(self._accepted_endpoint).inc()
            elif kind == "websocket.close":
                refused = self._accepted_endpoint is None
                self._close_code = REFUSED if refused else message.get("code") or NORMAL_CLOSURE
            elif kind == "websocket.http.response.start":
                message = self._begin(message, message.get("headers"))
                self._close_code = message["status"]
        except Exception:  # noqa: BLE001 - what the message lacks, the server says
            self._recorder.metrics.count_internal_error("middleware")
        await self._send(message)

    def note_failure(self, error: BaseException) -> None:
        """The application raised: the server closes the connection as an internal error."""
        if self._close_code and isinstance(error, asyncio.CancelledError):
            return  # it was closed already
        self._close_code = self._close_code or INTERNAL_ERROR
        endpoint = self.endpoint()
        self._recorder.metrics.http_exceptions.labels("WEBSOCKET", endpoint, type(error).__name__).inc()
        self._recorder.trouble.errors.note(error, endpoint)

    def abandon(self) -> None:
        """Record the connection, which has ended."""
        self.finished = True
        metrics = self._recorder.metrics
        endpoint = self._accepted_endpoint
        if endpoint is None:
            endpoint = self.endpoint()
        else:
            metrics.websockets_open.labels(endpoint).dec()
            metrics.websocket_seconds.labels(endpoint).observe(monotonic_seconds() - self.started)
            for direction in ("received", "sent"):
                metrics.websocket_messages.labels(endpoint, direction).inc(self._messages[direction])
                metrics.websocket_bytes.labels(endpoint, direction).inc(self._bytes[direction])
        metrics.websockets.labels(endpoint, str(self._close_code or NORMAL_CLOSURE)).inc()

    def _begin(self, message: Message, headers: object) -> Message:
        with contextlib.suppress(TypeError, AttributeError, ValueError):  # no list of pairs: it stays as it is
            return {**message, "headers": self.with_own_headers(headers)[0]}
        return message

    def _count(self, direction: str, message: Message) -> None:
        data = message.get("bytes")
        if data is None:
            text: str = message.get("text") or ""
            data = text if text.isascii() else text.encode()
        self._messages[direction] += 1
        self._bytes[direction] += len(data)
