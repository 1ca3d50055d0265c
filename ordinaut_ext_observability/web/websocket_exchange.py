"""One WebSocket connection: what passes over it and how it ends."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.web.exchange import Observer, add_own_headers

NORMAL_CLOSURE = 1000
NO_STATUS_RECEIVED = 1005
INTERNAL_ERROR = 1011
REFUSED = 403
"""Counted for a connection closed before it was accepted: what the server then answers the handshake with."""


class WebSocketExchange:
    """The facts of one connection. Close codes: RFC 6455, section 7.4.1."""

    __slots__ = (
        "_accepted_endpoint",
        "_bytes_received",
        "_bytes_sent",
        "_close_code",
        "_messages_received",
        "_messages_sent",
        "_observer",
        "_receive",
        "_scope",
        "_send",
        "_started",
        "finished",
        "ids",
    )

    def __init__(self, observer: Observer, scope: Scope, receive: Receive, send: Send) -> None:
        self._started = monotonic_seconds()
        self._observer = observer
        self._scope = scope
        self._receive = receive
        self._send = send
        self.ids = observer.id_reader.read(scope)
        self.finished = False
        self._accepted_endpoint: str | None = None
        self._close_code = 0
        self._messages_received = self._messages_sent = 0
        self._bytes_received = self._bytes_sent = 0

    async def receive(self) -> Message:
        """Pass a message on to the application, counting it."""
        message = await self._receive()
        kind = message["type"]
        if kind == "websocket.receive":
            self._messages_received += 1
            self._bytes_received += _payload_bytes(message)
        elif kind == "websocket.disconnect" and not self._close_code:
            self._close_code = message.get("code") or NO_STATUS_RECEIVED
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on to the server, counting it."""
        try:
            message = self._sending(message)
        except Exception:  # noqa: BLE001 - what the message lacks, the server says
            self._observer.internal_error()
        await self._send(message)

    def failed(self, error: BaseException) -> None:
        """The application raised: the server closes the connection as an internal error."""
        if self._close_code and isinstance(error, asyncio.CancelledError):
            return  # it was closed already
        self._close_code = self._close_code or INTERNAL_ERROR
        try:
            self._observer.metrics.http_exceptions.labels("WEBSOCKET", self._endpoint(), type(error).__name__).inc()
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._observer.internal_error()

    def abandon(self) -> None:
        """Record the connection, which has ended."""
        self.finished = True
        try:
            self._record()
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._observer.internal_error()

    def _endpoint(self) -> str:
        return self._observer.endpoints.resolve(self._scope)

    def _sending(self, message: Message) -> Message:
        """Note what is sent, and return it with our headers where a response begins."""
        kind = message["type"]
        if kind == "websocket.send":
            self._messages_sent += 1
            self._bytes_sent += _payload_bytes(message)
        elif kind == "websocket.accept":
            message = self._with_own_headers(message)
            self._accepted_endpoint = self._endpoint()
            self._observer.metrics.websockets_open.labels(self._accepted_endpoint).inc()
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
        add_own_headers(headers, self._observer, self.ids, self._started)
        return {**message, "headers": headers}

    def _record(self) -> None:
        metrics = self._observer.metrics
        endpoint = self._accepted_endpoint
        if endpoint is None:
            endpoint = self._endpoint()
        else:
            metrics.websockets_open.labels(endpoint).dec()
            metrics.websocket_seconds.labels(endpoint).observe(monotonic_seconds() - self._started)
            metrics.websocket_messages.labels(endpoint, "received").inc(self._messages_received)
            metrics.websocket_messages.labels(endpoint, "sent").inc(self._messages_sent)
            metrics.websocket_bytes.labels(endpoint, "received").inc(self._bytes_received)
            metrics.websocket_bytes.labels(endpoint, "sent").inc(self._bytes_sent)
        metrics.websockets.labels(endpoint, str(self._close_code or NORMAL_CLOSURE)).inc()


def _payload_bytes(message: Message) -> int:
    data = message.get("bytes")
    if data is not None:
        return len(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode())
