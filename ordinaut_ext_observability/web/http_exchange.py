"""One HTTP request and its response, from the first byte to the last.

This is the only code of ours that every request runs, so it does little: it notes facts. What they mean (endpoint,
series, access line) is worked out by the recorder, for many requests at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from types import MethodType

from starlette.types import Message, Receive, Scope, Send

from ordinaut_ext_observability.clock import monotonic_seconds
from ordinaut_ext_observability.web.endpoints import UNMATCHED
from ordinaut_ext_observability.web.exchange import Observer, ids_of_current_span, loaded_modules

BATCH_REQUESTS = 64
"""Finished requests that wait before they are recorded together."""

CLIENT_CLOSED_REQUEST = 499
"""Status counted for a request whose client went away before the response was complete; the code is nginx's."""

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"))
OTHER_METHOD = "_OTHER"
"""Stands for every method that HTTP does not define; the name is OpenTelemetry's."""

_TEMPORARY_REDIRECT = 307

# What servers answer when an application raises before its response has begun. We answer it in their place, since
# only then can the response carry the correlation id; the exception goes on to the server, which logs it.
_INTERNAL_SERVER_ERROR = b"Internal Server Error"
_INTERNAL_SERVER_ERROR_HEADERS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"21"),
    (b"connection", b"close"),
)


@dataclass(slots=True)
class Unusual:
    """What few requests have."""

    disconnected: bool = False
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
        if message["type"] == "http.request":
            self.request_bytes += len(message.get("body", b""))
        elif not self.finished:
            self._note().disconnected = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on to the server; with the last one the request is finished."""
        if message["type"] != "http.response.start":
            return self._send_body(message)
        try:
            self.status = status = message["status"]
            headers = list(message.get("headers", ()))
            named = dict(headers)  # names are in lower case, as ASGI asks
            own_id = self.ids[0].encode("ascii")
            if b"x-correlation-id" in named:
                headers = [header for header in headers if header[0] != b"x-correlation-id"]
            if b"x-request-id" not in named:
                headers.append((b"x-request-id", own_id))
            headers.append((b"x-correlation-id", own_id))
            message["headers"] = headers
            if b"content-type" in named and named[b"content-type"].startswith(b"text/event-stream"):
                self._becomes_stream()
            if status == _TEMPORARY_REDIRECT:
                self._note().location = named.get(b"location")
            if "opentelemetry.trace" in loaded_modules:
                self.ids = ids_of_current_span(self.ids)
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._observer.internal_error()
        return self._send(message)

    async def _send_body(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            self._note().disconnected = True
            raise
        if message["type"] == "http.response.body":
            if "body" in message:
                self.response_bytes += len(message["body"])
            if self.unusual is not None and message.get("body"):
                self.unusual.stream_messages += 1
            if message.get("more_body", False):
                return
        elif message["type"] != "http.response.pathsend":
            return
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
            if len(waiting) == 1:
                observer.recorder.wake()
            elif len(waiting) >= BATCH_REQUESTS:
                observer.recorder.record_waiting()
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            observer.internal_error()

    async def failed(self, error: BaseException) -> None:
        """The application raised. If its response has not begun, answer for the server."""
        try:
            unusual = self._note()
            if isinstance(error, asyncio.CancelledError):
                unusual.disconnected = unusual.disconnected or not self.finished
            elif not (unusual.disconnected and isinstance(error, OSError)):
                unusual.exception_type = type(error).__name__
                self._observer.metrics.http_exceptions.labels(
                    self.known_method(), self.endpoint(), unusual.exception_type
                ).inc()
                if not self.status and not unusual.disconnected and isinstance(error, Exception):
                    await self._answer_internal_server_error()
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._observer.internal_error()

    def known_method(self) -> str:
        """The method, one of `METHODS` or `OTHER_METHOD`."""
        method: str = self.scope["method"]
        return method if method in METHODS else OTHER_METHOD

    def outcome(self) -> int:
        """The status code the request counts under."""
        if self.unusual is not None and self.unusual.disconnected:
            return CLIENT_CLOSED_REQUEST
        # uvicorn drops what is sent after a disconnect without telling the application: ask it.
        receive = self._receive
        if type(receive) is MethodType and getattr(receive.__self__, "disconnected", None) is True:
            return CLIENT_CLOSED_REQUEST
        return self.status or 500

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

    async def _answer_internal_server_error(self) -> None:
        headers = list(_INTERNAL_SERVER_ERROR_HEADERS)
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": _INTERNAL_SERVER_ERROR})
