"""One HTTP request and its response, from the first byte to the last.

This is the only code of ours that every request runs, so it does little: it notes facts. What they mean (endpoint,
series, access line) is worked out by the recorder, for many requests at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from types import MethodType
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.web.exchange import (
    Headers,
    Observer,
    add_own_headers,
    ids_of_current_span,
    loaded_modules,
)
from ordinaut_ext_observability.web.route_templates import UNMATCHED

BATCH_REQUESTS = 64
"""Finished requests that wait before they are recorded together."""

CLIENT_CLOSED_REQUEST = 499
"""Status counted for a request whose client went away before the response was complete; the code is nginx's."""

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"))
OTHER_METHOD = "_OTHER"
"""Stands for every method that HTTP does not define; the name is OpenTelemetry's."""

_TEMPORARY_REDIRECT = 307

_EVENT_STREAM = b"text/event-stream"


@dataclass(slots=True)
class Unusual:
    """What few requests have."""

    disconnected: bool | None = None
    """Whether the client left before the response was complete; None where the server still has to be asked."""
    exception_type: str = ""
    location: bytes | None = None
    stream_endpoint: str | None = None
    stream_messages: int = 0


class HttpExchange:
    """The facts of one request."""

    __slots__ = (
        "_observer",
        "_receive",
        "_send",
        "finished",
        "ids",
        "request_bytes",
        "response_bytes",
        "scope",
        "seconds",
        "started",
        "status",
        "unusual",
    )

    def __init__(self, observer: Observer, scope: Scope, receive: Receive, send: Send) -> None:
        self.started = monotonic_seconds()
        self._observer = observer
        self._receive = receive
        self._send = send
        self.scope = scope
        self.ids = observer.id_reader.read(scope)
        self.finished = False
        self.status = self.request_bytes = self.response_bytes = 0
        self.unusual: Unusual | None = None
        observer.in_progress.add(self)

    async def receive(self) -> Message:
        """Pass a message on to the application, counting the body and noticing a client that left."""
        message = await self._receive()
        try:
            if message["type"] == "http.request":
                self.request_bytes += len(message.get("body", b""))
            elif not self.finished:
                self._note().disconnected = True
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._observer.internal_error()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on to the server; with the last one the request is finished."""
        try:
            if message["type"] != "http.response.start" or self.status:
                return self._send_body(message)
            message = self._begin(message)
        except Exception:  # noqa: BLE001 - what the message lacks, the server says
            self._observer.internal_error()
        return self._send(message)

    def _begin(self, message: Message) -> Message:
        """The response begins: note what it is, and return a copy of the message with our headers.

        A copy, since the application may send the same object for every request. Headers that are no list may be read
        only once, or be what a server refuses: the message stays as it is.
        """
        self.status = int(message["status"])
        if "opentelemetry.trace" in loaded_modules:
            self.ids = ids_of_current_span(self.ids)
        headers = message.get("headers")
        if not isinstance(headers, (list, tuple)):
            self._extend_servers_headers()
            return message
        headers = list(headers)
        try:
            named = add_own_headers(headers, self._observer, self.ids, self.started)
        except (TypeError, AttributeError, ValueError):  # of text, or no pairs: some servers take them
            self._extend_servers_headers()
            return message
        media_type = named.get(b"content-type")
        if media_type is not None and media_type[: len(_EVENT_STREAM)].lower() == _EVENT_STREAM:
            self._becomes_stream()
        if self.status == _TEMPORARY_REDIRECT:
            self._note().location = named.get(b"location")
        return {**message, "headers": headers}

    async def _send_body(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            self._note().disconnected = True
            raise
        try:
            if message["type"] == "http.response.body":
                if "body" in message and self.scope["method"] != "HEAD":  # whose body servers do not send
                    self.response_bytes += len(message["body"])
                if self.unusual is not None and message.get("body"):
                    self.unusual.stream_messages += 1
                if message.get("more_body", False):
                    return
            elif message["type"] != "http.response.pathsend":
                return
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._observer.internal_error()
        self.finish()

    def finish(self) -> None:
        """The response is complete, or will not be completed; further calls do nothing."""
        if self.finished:
            return
        self.finished = True
        self.seconds = monotonic_seconds() - self.started
        observer = self._observer
        try:
            observer.in_progress.discard(self)
            waiting = observer.waiting
            waiting.append(self)
            failed = not 0 < self.status < 500
            if failed or len(waiting) == 1:
                observer.recorder.wake(urgent=failed)
            elif len(waiting) >= BATCH_REQUESTS:
                observer.recorder.record_waiting()
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            observer.internal_error()

    def failed(self, error: BaseException) -> None:
        """The application raised; the error goes on to the server. The connection tells whether the client waited."""
        try:
            unusual = self._note()
            unusual.disconnected = unusual.disconnected or self._is_disconnected()
            if isinstance(error, asyncio.CancelledError) and (unusual.disconnected or self.finished):
                return  # nobody waits any more
            if isinstance(error, OSError) and unusual.disconnected:
                return
            unusual.exception_type = type(error).__name__
            self._observer.metrics.http_exceptions.labels(
                self.known_method(), self.endpoint(), unusual.exception_type
            ).inc()
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._observer.internal_error()

    def abandon(self) -> None:
        """The application is done and its response is not complete: the server makes it, or cuts it off."""
        try:
            unusual = self._note()  # asked now: for an incomplete response the server closes the connection
            unusual.disconnected = unusual.disconnected or self._is_disconnected()
            if not self.status:
                self._extend_servers_headers()
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._observer.internal_error()
        self.finish()

    def _extend_servers_headers(self) -> None:
        """Put our headers among those that uvicorn adds to this response. Other servers have none.

        Not where a layer stands between the server and us: its answer may have ids of its own.
        """
        server: Any = getattr(self._receive, "__self__", None)
        is_next = server is not None and server is getattr(self._send, "__self__", None)
        if is_next and isinstance(getattr(server, "default_headers", None), list):
            own: Headers = []
            add_own_headers(own, self._observer, self.ids, self.started)
            server.default_headers = server.default_headers + own  # the list itself is every response's

    def known_method(self) -> str:
        """The method, one of `METHODS` or `OTHER_METHOD`."""
        method: str = self.scope["method"]
        return method if method in METHODS else OTHER_METHOD

    def outcome(self) -> int:
        """The status code the request counts under."""
        disconnected = self.unusual.disconnected if self.unusual is not None else None
        if disconnected is None:
            disconnected = self._is_disconnected()
        return CLIENT_CLOSED_REQUEST if disconnected else self.status or 500

    def _is_disconnected(self) -> bool:
        """Ask uvicorn, which drops what is sent after a disconnect without telling the application."""
        receive = self._receive
        return type(receive) is MethodType and getattr(receive.__self__, "disconnected", None) is True

    def endpoint(self) -> str:
        """The full template of the route that answered."""
        endpoints = self._observer.endpoints
        endpoint = endpoints.resolve(self.scope)
        if endpoint is UNMATCHED and self.unusual is not None and self.unusual.location is not None:
            return endpoints.resolve_redirect(self.scope, self.unusual.location)
        return endpoint

    def _note(self) -> Unusual:
        if self.unusual is None:
            self.unusual = Unusual()
        return self.unusual

    def _becomes_stream(self) -> None:
        endpoint = self._note().stream_endpoint = self.endpoint()
        self._observer.metrics.streams_open.labels(endpoint).inc()
