"""The outermost ASGI layer: ids on every request, time and outcome of every response.

One exchange object holds a request's state. Whatever fails in here is counted and kept from the host: its responses
are what they would have been, our headers aside.

Every request starts with a fresh context: a server may start it inside the context of the one before (pipelined and
kept-alive requests), so each of our variables is set. Nothing is put back at the end, since the server logs last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from ordinaut_ext_observability.correlation.context import NO_WORK, request_ids, work_ids
from ordinaut_ext_observability.web.exchange import HttpExchange
from ordinaut_ext_observability.web.recorder import RequestRecorder
from ordinaut_ext_observability.web.websocket_exchange import WebSocketExchange


class ObservabilityMiddleware:
    """Wraps the host's whole middleware stack."""

    def __init__(self, app: ASGIApp, recorder: RequestRecorder, on_first_request: Callable[[], None]) -> None:
        self.app = app  # under this name other instrumentation looks for the next layer
        self._recorder = recorder
        self._on_first_request: Callable[[], None] | None = on_first_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: HttpExchange | WebSocketExchange | None = None
        try:
            kind = scope["type"]
            if kind == "http":
                exchange = HttpExchange(self._recorder, scope, receive, send)
                self._recorder.in_progress.add(exchange)
                if self._recorder.tracer is not None:
                    self._recorder.tracer.begin(exchange)
            elif kind == "websocket":
                exchange = WebSocketExchange(self._recorder, scope, receive, send)
            if exchange is not None and self._on_first_request is not None:
                start, self._on_first_request = self._on_first_request, None
                start()
        except Exception:  # noqa: BLE001 - see the module's docstring
            self._recorder.metrics.count_internal_error("middleware")
        if exchange is None:
            await self.app(scope, receive, send)
            return
        # A server tells the version of ASGI's HTTP part. A client in this process does not: it calls in a task of its
        # own, where what was bound around the call must be back after it.
        around = None if "spec_version" in (scope.get("asgi") or ()) else (request_ids.get(), work_ids.get())
        request_ids.set(exchange.ids)
        work_ids.set(NO_WORK)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            self._call(exchange.note_failure, error)
            raise
        finally:
            if not exchange.finished or exchange.span is not None:
                self._call(exchange.abandon)
            if around is not None:
                request_ids.set(around[0])
                work_ids.set(around[1])

    def _call(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception:  # noqa: BLE001 - see the module's docstring
            self._recorder.metrics.count_internal_error("middleware")
