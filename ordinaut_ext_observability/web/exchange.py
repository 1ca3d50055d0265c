"""One HTTP request and its response, from the first byte to the last; and what WebSocket connections share with it.

This is the only code of ours that every request runs, so it does little: it notes facts. What they mean (endpoint,
series, access line) is worked out by the recorder, for many requests at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import lru_cache
from types import MethodType
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Receive, Scope, Send

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.correlation.context import RequestIds, with_current_span
from ordinaut_ext_observability.web.recorder import RequestRecorder
from ordinaut_ext_observability.web.request_ids import Headers
from ordinaut_ext_observability.web.route_templates import UNMATCHED

if TYPE_CHECKING:
    from ordinaut_ext_observability.tracing.requests import RequestSpan

BATCH_REQUESTS = 64  # finished requests that wait before they are recorded together
CLIENT_CLOSED_REQUEST = 499  # counted where the client left before the response was complete; the code is nginx's
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"))
OTHER_METHOD = "_OTHER"  # stands for every method that HTTP does not define; the name is OpenTelemetry's
_TEMPORARY_REDIRECT = 307
_EVENT_STREAM = b"text/event-stream"
_server_timing = lru_cache(4096)(lambda tenths_of_ms: b"app;dur=%.1f" % (tenths_of_ms / 10))
_LENGTHS = frozenset(map(len, (b"content-type", b"location", b"x-request-id", b"x-correlation-id")))


class Exchange:
    """The facts of one request or connection."""

    __slots__ = ("_receive", "_recorder", "_send", "finished", "ids", "scope", "span", "started")

    def __init__(self, recorder: RequestRecorder, scope: Scope, receive: Receive, send: Send) -> None:
        self.started = monotonic_seconds()
        self.scope = scope
        self.ids: RequestIds = recorder.id_reader.read(scope)
        self._recorder = recorder
        self._receive = receive
        self._send = send
        self.finished = False
        self.span: RequestSpan | None = None

    def endpoint(self) -> str:
        """The full template of the route that answered."""
        return self._recorder.endpoints.resolve(self.scope)

    def with_own_headers(self, headers: Any) -> tuple[Headers, dict[bytes, bytes]]:
        """These headers and ours, and those that we look at, by their names in lower case.

        Ours are `X-Correlation-ID`, `X-Request-ID` where there is none, and beside the host's own `Server-Timing` with
        the milliseconds until now, when the response begins. The list is a copy, since the application may send the
        same object for every request. Raises TypeError, AttributeError or ValueError for what is no list of pairs: it
        may be readable only once, or be what a server refuses.
        """
        if not isinstance(headers, (list, tuple)):
            raise TypeError
        looked_at = {_lower_name(name): value for name, value in headers if len(name) in _LENGTHS}
        if b"x-correlation-id" in looked_at:
            headers = [header for header in headers if _lower_name(header[0]) != b"x-correlation-id"]
        own_id = self.ids[0].encode()
        headers = [*headers, (b"x-correlation-id", own_id)]
        if b"x-request-id" not in looked_at:
            headers.append((b"x-request-id", own_id))
        if self._recorder.settings.server_timing:
            headers.append((b"server-timing", _server_timing(int((monotonic_seconds() - self.started) * 10_000 + 0.5))))
        return headers, looked_at


@dataclass(slots=True)
class RareFacts:
    """The facts that few requests have."""

    disconnected: bool | None = None
    """True: the client left before the response was complete; None: the server has still to be asked."""
    exception_type: str = ""
    location: bytes | None = None
    stream_endpoint: str | None = None
    """The endpoint of server-sent events, None for other responses."""
    stream_messages: int = 0


_NO_RARE_FACTS = RareFacts()
"""Stands in every request until it has a rare fact: a request makes no object that it does not need."""


class HttpExchange(Exchange):
    """The facts of one HTTP request."""

    __slots__ = ("rare", "request_bytes", "response_bytes", "seconds", "status")

    def __init__(self, recorder: RequestRecorder, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(recorder, scope, receive, send)
        self.rare = _NO_RARE_FACTS
        self.status = self.request_bytes = self.response_bytes = 0

    async def receive(self) -> Message:
        """Pass a message on to the application, counting the body and noticing a client that left."""
        message = await self._receive()
        try:
            if message["type"] == "http.request":
                self.request_bytes += len(message.get("body", b""))
            elif not self.finished:
                self._note().disconnected = True
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._recorder.metrics.count_internal_error("middleware")
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on to the server; with the last one the request is finished."""
        try:
            if message["type"] != "http.response.start" or self.status:
                return self._send_body(message)
            message = self._begin(message)
        except Exception:  # noqa: BLE001 - what the message lacks, the server says
            self._recorder.metrics.count_internal_error("middleware")
        return self._send(message)

    def _begin(self, message: Message) -> Message:
        """The response begins: note what it is, and return a copy of the message with our headers."""
        self.status = int(message["status"])
        if self.span is None:  # the host's trace is also its logs'
            self.ids = with_current_span(self.ids) or self.ids
        try:
            headers, named = self.with_own_headers(message.get("headers"))
        except (TypeError, AttributeError, ValueError):  # no list of pairs: the message stays as it is
            self._extend_servers_headers()
            return message
        media_type = named.get(b"content-type", b"")
        # That of JSON is shorter.
        if len(media_type) >= len(_EVENT_STREAM) and media_type[: len(_EVENT_STREAM)].lower() == _EVENT_STREAM:
            endpoint = self._note().stream_endpoint = self.endpoint()
            self._recorder.metrics.streams_open.labels(endpoint).inc()
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
                if self.rare.stream_endpoint is not None and message.get("body"):
                    self.rare.stream_messages += 1
                if message.get("more_body", False):
                    return
            elif message["type"] != "http.response.pathsend":
                return
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._recorder.metrics.count_internal_error("middleware")
        self.finish()

    def finish(self) -> None:
        """The response is complete, or will not be completed; further calls do nothing."""
        if self.finished:
            return
        self.finished = True
        self.seconds = monotonic_seconds() - self.started
        recorder = self._recorder
        try:
            recorder.in_progress.discard(self)
            waiting = recorder.waiting
            waiting.append(self)
            failed = not 0 < self.status < 500
            if failed or len(waiting) == 1:
                recorder.access_log.wake(urgent=failed)
            elif len(waiting) >= BATCH_REQUESTS:
                recorder.record_waiting()
        except Exception:  # noqa: BLE001 - kept from the host, see middleware.py
            self._recorder.metrics.count_internal_error("middleware")

    def note_failure(self, error: BaseException) -> None:
        """The application raised; the error goes on to the server. The connection tells whether the client waited."""
        rare = self._note()
        rare.disconnected = gone = self._is_disconnected()
        if isinstance(error, asyncio.CancelledError) and (gone or self.finished):
            return  # nobody waits any more
        if isinstance(error, OSError) and gone:
            return
        rare.exception_type = type(error).__name__
        if self.span is not None:
            self.span.fail(error)
        endpoint = self.endpoint()
        self._recorder.metrics.http_exceptions.labels(self.known_method(), endpoint, rare.exception_type).inc()
        self._recorder.trouble.errors.note(error, endpoint)

    def abandon(self) -> None:
        """The application is done. Where its response is not complete, the server makes it, or cuts it off."""
        try:
            if not self.finished:
                self._note().disconnected = self._is_disconnected()  # now: the server closes it for such a response
                if not self.status:
                    self._extend_servers_headers()
        finally:
            self.finish()
            if self.span is not None:
                self._end_span(self.span)

    def _end_span(self, span: RequestSpan) -> None:
        endpoint = self.endpoint()
        route = {} if endpoint is UNMATCHED else {"http.route": endpoint}
        told = {"http.response.status_code": self.outcome(), "url.path": self.scope["path"], **route}
        span.end(" ".join((self.known_method(), *route.values())), told, self.seconds)

    def _extend_servers_headers(self) -> None:
        """Put our headers among those that uvicorn adds to this response. Other servers have none.

        Not where a layer stands between the server and us: its answer may have ids of its own.
        """
        server: Any = getattr(self._receive, "__self__", None)
        is_next = server is not None and server is getattr(self._send, "__self__", None)
        if is_next and isinstance(getattr(server, "default_headers", None), list):
            # A new list: the old one is every response's.
            server.default_headers = server.default_headers + self.with_own_headers([])[0]

    def known_method(self) -> str:
        """The method, one of `METHODS` or `OTHER_METHOD`."""
        method: str = self.scope["method"]
        return method if method in METHODS else OTHER_METHOD

    def outcome(self) -> int:
        """The status code the request counts under."""
        return CLIENT_CLOSED_REQUEST if self._is_disconnected() else self.status or 500

    def _is_disconnected(self) -> bool:
        """Where nothing is noted, ask uvicorn: it drops what is sent after a disconnect and tells no application."""
        if self.rare.disconnected is not None:
            return self.rare.disconnected
        receive = self._receive
        return type(receive) is MethodType and getattr(receive.__self__, "disconnected", None) is True

    def endpoint(self) -> str:
        """The full template of the route that answered, or that a redirect leads to."""
        endpoint = super().endpoint()
        if endpoint is UNMATCHED and self.rare.location is not None:
            return self._recorder.endpoints.resolve_redirect(self.scope, self.rare.location)
        return endpoint

    def _note(self) -> RareFacts:
        """The rare facts of this request, to be changed."""
        if self.rare is _NO_RARE_FACTS:
            self.rare = RareFacts()
        return self.rare


def _lower_name(name: bytes | str) -> bytes:
    """A header's name in lower case. ASGI asks for bytes; some servers take text as well."""
    if type(name) is not bytes:
        name = name.encode("latin-1") if isinstance(name, str) else bytes(name)
    return name.lower()
