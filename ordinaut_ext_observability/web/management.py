"""The management port: metrics and probes on a thread of their own, whatever the host's loop, checks and bans do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.daemon_threads import call_within, join_until
from ordinaut_ext_observability.errors import AddressInUseError, ServedByAnotherWorkerError
from ordinaut_ext_observability.web.answers import error_response
from ordinaut_ext_observability.web.connections import (
    ACCEPTED_AT_ONCE,
    IDLE_SECONDS,
    BoundedConnection,
    TurnTaking,
    close_overdue_connections,
)

_RESOLVE_SECONDS = 1.0
_LAST_PORT = 65535
_BACKLOG = 512  # connections that wait to be accepted: in a rush, a probe waits there for less than a second


@dataclass(eq=False)
class ManagementServer:
    """Serves a router on a port of its own, under the mount path and at the root."""

    make_router: Callable[[], APIRouter]
    """Called at the start; what it makes is for this server's loop alone."""
    host: str
    port: int
    mount_path: str
    ports_to_try: int = 1
    """The first free one of so many ports from `port` on is taken."""
    on_loop: Callable[[], None] = lambda: None
    """Called once on the loop."""
    _claim: socket.socket | None = field(default=None, init=False)
    _listener: socket.socket | None = field(default=None, init=False)
    _server: uvicorn.Server | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port it listens on, or None."""
        return (self.host, self.port) if self._thread is not None else None

    def start(self) -> None:
        """Listen and serve. Starting again does nothing.

        Raises `AddressInUseError` where the address cannot be listened on, `ServedByAnotherWorkerError` where that is
        another worker's business, and RuntimeError where the system has no more threads.
        """
        if self._thread is not None:
            return
        self._server = _Server(self._configure())
        if self._claim is None and self.port and self.ports_to_try == 1:
            self._claim = _claim_for_workers(f"{self.host}:{self.port}")
        self._listener = listener = self._listen_on_first_free()
        self.port = listener.getsockname()[1]
        thread = threading.Thread(target=self._serve, args=(self._server, listener), daemon=True)
        thread.name = "observability-management"
        try:
            thread.start()
        except RuntimeError:
            listener.close()
            raise
        self._thread = thread

    def reset_after_fork(self) -> None:
        """In a forked child: the parent serves, and its socket is closed here."""
        for held in (self._listener, self._claim):
            if held is not None:
                held.close()
        self._listener = self._claim = self._thread = self._server = None

    def begin_stop(self) -> None:
        """Have the thread stop serving soon. Safe without `start`."""
        if self._server is not None:
            self._server.should_exit = True

    def stop(self, ends_at: float | None = None) -> None:
        """Stop serving, and wait for the thread until then, on `monotonic_seconds`. Safe without `start`."""
        self.begin_stop()
        if self._thread is not None:
            join_until(self._thread, ends_at)
        if self._claim is not None:
            self._claim.close()
        self._claim = self._thread = self._server = None

    def _listen_on_first_free(self) -> socket.socket:
        last = min(self.port + self.ports_to_try - 1, _LAST_PORT)
        for port in range(self.port, last):
            with contextlib.suppress(AddressInUseError):
                return self._listen(port)
        return self._listen(last)

    def _listen(self, port: int) -> socket.socket:
        try:
            # In a thread: the host starts meanwhile, and a resolver may take half a minute not to answer.
            resolve = partial(socket.getaddrinfo, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, address = call_within(_RESOLVE_SECONDS, resolve, self.host, port)[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            raise AddressInUseError(f"cannot resolve {self.host!r}: {error.strerror or 'no answer'}") from error
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise AddressInUseError(f"cannot listen on {self.host}:{port}: {error.strerror}") from error
        return listener

    def _configure(self) -> uvicorn.Config:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        router = self.make_router()
        app.include_router(router, prefix=self.mount_path)
        app.include_router(router)
        app.add_exception_handler(HTTPException, _answer_in_our_shape)  # type: ignore[arg-type] # Starlette's own hint
        return uvicorn.Config(
            TurnTaking(app),
            loop="asyncio",
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,  # logging is the host's
            proxy_headers=False,  # access lists and limits are about who connects, not about what a client writes
            backlog=ACCEPTED_AT_ONCE,  # asyncio takes one number for both
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=1,
        )

    def _serve(self, server: uvicorn.Server, listener: socket.socket) -> None:
        async def serve() -> None:
            asyncio.get_running_loop().call_soon(self.on_loop)
            connections = cast("set[BoundedConnection]", server.server_state.connections)
            sweeping = asyncio.create_task(close_overdue_connections(connections))
            try:
                await server.serve(sockets=[listener])
            finally:
                sweeping.cancel()

        with listener:
            asyncio.run(serve())


def _claim_for_workers(address: str) -> socket.socket | None:
    """Held by the one process that opens this address among the workers of a server; None where that cannot be told.

    Workers have the process group of their server in common. A name of Linux's own kind leaves no file and ends with
    its process. Raises `ServedByAnotherWorkerError` where another process holds it.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0ordinaut-observability:{os.getpgrp()}:{address}")
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            raise ServedByAnotherWorkerError from error
        return None
    return claim


async def _answer_in_our_shape(request: Request, error: HTTPException) -> Response:
    name = "method_not_allowed" if error.status_code == 405 else "not_found"
    message = f"No {request.method} {request.url.path} on the management port."
    return error_response(error.status_code, name, message, error.headers)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and let more connections wait than are accepted at once."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)
