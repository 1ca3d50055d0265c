"""The management port: metrics and probes on a thread, a socket and an event loop of their own.

Scrapers and probes reach it whatever the host's event loop, trusted-host check, IP bans or scopes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI

from ordinaut_ext_observability.clock import monotonic_seconds
from ordinaut_ext_observability.daemon_threads import join_until
from ordinaut_ext_observability.errors import AddressInUseError
from ordinaut_ext_observability.web.answers import error_response

_START_TIMEOUT_SECONDS = 5.0
_BACKLOG = 128
_MAX_CONNECTIONS = 256
_LAST_PORT = 65535

SILENT_SECONDS = 5.0
"""How long a connection may be open without a request: the places are for scrapers and probes."""


class ManagementServer:
    """Serves a router on a port of its own, under the mount path and at the root."""

    def __init__(
        self,
        make_router: Callable[[], APIRouter],
        *,
        host: str,
        port: int,
        mount_path: str,
        ports_to_try: int = 1,
        on_loop: Callable[[], None] = lambda: None,
    ) -> None:
        """`make_router` is called at the start; what it makes is for this server's loop alone.

        Of `ports_to_try` ports from `port` on the first free one is taken; `on_loop` is called once on the loop.
        """
        self._ports_to_try = ports_to_try
        self._on_loop = on_loop
        self._listener: socket.socket | None = None
        self._make_router = make_router
        self._host = host
        self._port = port
        self._mount_path = mount_path
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port it listens on, or None."""
        return (self._host, self._port) if self._thread is not None else None

    def start(self) -> None:
        """Listen and serve. Starting again does nothing.

        Raises:
            AddressInUseError: the address cannot be listened on.
            RuntimeError: the system has no more threads.
        """
        if self._thread is not None:
            return
        self._server = uvicorn.Server(self._configure())
        listener = self._listen_on_first_free()
        self._port = listener.getsockname()[1]
        ready = threading.Event()
        thread = threading.Thread(
            target=self._serve, args=(self._server, listener, ready), name="observability-management", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            listener.close()
            raise
        self._thread = thread
        self._listener = listener
        ready.wait(_START_TIMEOUT_SECONDS)

    def forget(self) -> None:
        """In a forked child: the parent serves, and its socket is closed here."""
        if self._listener is not None:
            self._listener.close()
        self._listener = self._thread = self._server = None

    def begin_stop(self) -> None:
        """Have the thread stop serving soon. Safe without `start`."""
        if self._server is not None:
            self._server.should_exit = True

    def stop(self, ends_at: float | None = None) -> None:
        """Stop serving, and wait for the thread until then, on `monotonic_seconds`. Safe without `start`."""
        self.begin_stop()
        if self._thread is not None:
            join_until(self._thread, ends_at)
        self._thread = self._server = None

    def _listen_on_first_free(self) -> socket.socket:
        last = min(self._port + self._ports_to_try - 1, _LAST_PORT)
        for port in range(self._port, last):
            with contextlib.suppress(AddressInUseError):
                return self._listen(port)
        return self._listen(last)

    def _listen(self, port: int) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            raise AddressInUseError(f"cannot resolve {self._host!r}: {error.strerror}") from error
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise AddressInUseError(f"cannot listen on {self._host}:{port}: {error.strerror}") from error
        return listener

    def _configure(self) -> uvicorn.Config:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        router = self._make_router()
        app.include_router(router, prefix=self._mount_path)
        app.include_router(router)
        app.add_exception_handler(
            404, lambda request, _: error_response(404, "not_found", f"No {request.url.path} on the management port.")
        )
        return uvicorn.Config(
            app,
            loop="asyncio",
            lifespan="off",
            access_log=False,
            log_config=None,  # logging is the host's
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
        )

    def _serve(self, server: uvicorn.Server, listener: socket.socket, ready: threading.Event) -> None:
        async def serve() -> None:
            asyncio.get_running_loop().call_soon(self._on_loop)
            asyncio.get_running_loop().call_soon(ready.set)
            sweeping = asyncio.create_task(_close_silent_connections(server))
            try:
                await server.serve(sockets=[listener])
            finally:
                sweeping.cancel()

        try:
            asyncio.run(serve())
        finally:
            listener.close()


async def _close_silent_connections(server: uvicorn.Server) -> None:
    """Done here, since uvicorn waits for a first request for ever."""
    silent_since: dict[Any, float] = {}
    while True:
        await asyncio.sleep(SILENT_SECONDS / 5)
        now = monotonic_seconds()
        silent = {
            connection: silent_since.get(connection, now)
            for connection in list(server.server_state.connections)
            if getattr(connection, "cycle", None) is None
        }
        for connection, since in silent.items():
            if now - since >= SILENT_SECONDS:
                connection.transport.close()
        silent_since = silent
