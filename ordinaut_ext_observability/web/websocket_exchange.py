"""One WebSocket connection: what passes over it and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope, Send

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.web.exchange import Exchange, MiddlewareContext

NORMAL_CLOSURE = 1000
NO_STATUS_RECEIVED = 1005
INTERNAL_ERROR = 1011
REFUSED = 403  # counted for a connection closed before it was accepted: the server's answer to the handshake


@dataclass(slots=True)
class _Traffic:
    """Messages of one direction."""

    messages: int = 0
    payload_bytes: int = 0

    def add(self, message: Message) -> None:
        self.messages += 1
        data = message.get("bytes")
        if data is None:
            text: str = message.get("text") or ""
            data = text if text.isascii() else text.encode()
        self.payload_bytes += len(data)


class WebSocketExchange(Exchange):
    """The facts of one connection. Close codes: RFC 6455, section 7.4.1."""

    _accepted_endpoint: str | None = None
    _close_code = 0

    def __init__(self, context: MiddlewareContext, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(context, scope, receive, send)
        self._received = _Traffic()
        self._sent = _Traffic()

    async def receive(self) -> Message:
        """Pass a message on to the application, counting it."""
        message = await self._receive()
        kind = message["type"]
        if kind == "websocket.receive":
            self._received.add(message)
        elif kind == "websocket.disconnect" and not self._close_code:
            self._close_code = message.get("code") or NO_STATUS_RECEIVED
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on to the server, counting it."""
        try:
            message = self._sending(message)
        except Exception:  # noqa: BLE001 - what the message lacks, the server says
            self._context.count_error()
        await self._send(message)

    def note_failure(self, error: BaseException) -> None:
        """The application raised: the server closes the connection as an internal error."""
        if self._close_code and isinstance(error, asyncio.CancelledError):
            return  # it was closed already
        self._close_code = self._close_code or INTERNAL_ERROR
        self._context.metrics.http_exceptions.labels("WEBSOCKET", self.endpoint(), type(error).__name__).inc()

    def abandon(self) -> None:
        """Record the connection, which has ended."""
        self.finished = True
        metrics = self._context.metrics
        endpoint = self._accepted_endpoint
        if endpoint is None:
            endpoint = self.endpoint()
        else:
            metrics.websockets_open.labels(endpoint).dec()
            metrics.websocket_seconds.labels(endpoint).observe(monotonic_seconds() - self.started)
            for direction, traffic in (("received", self._received), ("sent", self._sent)):
                metrics.websocket_messages.labels(endpoint, direction).inc(traffic.messages)
                metrics.websocket_bytes.labels(endpoint, direction).inc(traffic.payload_bytes)
        metrics.websockets.labels(endpoint, str(self._close_code or NORMAL_CLOSURE)).inc()

    def _sending(self, message: Message) -> Message:
        """Note what is sent, and return it with our headers where a response begins."""
        kind = message["type"]
        if kind == "websocket.send":
            self._sent.add(message)
        elif kind == "websocket.accept":
            message = self._with_own_headers(message)
            self._accepted_endpoint = self.endpoint()
            self._context.metrics.websockets_open.labels(self._accepted_endpoint).inc()
        elif kind == "websocket.close":
            refused = self._accepted_endpoint is None
            self._close_code = REFUSED if refused else message.get("code") or NORMAL_CLOSURE
        elif kind == "websocket.http.response.start":
            message = self._with_own_headers(message)
            self._close_code = message["status"]
        return message

    def _with_own_headers(self, message: Message) -> Message:
        """A copy, since the application may send the same object for every connection.

        Headers that are no list may be read only once, or be what a server refuses: then the message stays as it is,
        as does a denial without headers.
        """
        headers = message.get("headers", [] if message["type"] == "websocket.accept" else None)
        if not isinstance(headers, (list, tuple)):
            return message
        headers = list(headers)
        self.add_own_headers(headers)
        return {**message, "headers": headers}
