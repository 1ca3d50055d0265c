"""The connections of our own ports: a bound on their number, and on the time of every state they can be in.

A newcomer always gets a place, so that a probe is answered whatever others hold open. Where there are too many, the
oldest connection goes that neither is new nor waits for our answer. Where many ask at once, those go first that were
not answered yet, so that a probe does not wait for who asks without end.
"""

from __future__ import annotations

import asyncio
import logging
from heapq import nsmallest
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.web.access import network_of

MAX_CONNECTIONS = 256  # a quarter of the 1024 descriptors a process usually may have: the others are the host's
MAX_CONNECTIONS_PER_NETWORK = 128  # half of all places, so that one address never takes those of others
REQUEST_SECONDS = 5.0  # longest wait for the whole of a first request
IDLE_SECONDS = 20  # longest wait for the whole of a further request; longer than a scrape interval of 15 seconds
ANSWER_SECONDS = 60.0  # to answer and to have the answer read: a scraper that needs longer has given up
MAX_UNREAD_BYTES = 128 * 1024 * 1024  # of answers that their clients have not read yet; a large scrape has 20 MB
SWEEP_SECONDS = 1.0  # between two looks at the states; by so much a connection may outlive its time
ACCEPTED_AT_ONCE = 8  # before requests are read and begun again: few, or a rush closes its own newest
_REQUESTS_AT_ONCE = ACCEPTED_AT_ONCE  # no fewer, or newcomers would wait for ever longer
_NEW_SECONDS = 1.0  # as long as a probe usually waits for its answer

# What strangers send makes uvicorn warn, a line each; only what fails in us is for the host's log.
# No logger of the process's: its levels are the host's.
_errors_only = logging.Logger("uvicorn.error.management", logging.ERROR)  # noqa: LOG001
_errors_only.parent = logging.getLogger("uvicorn.error")


class BoundedConnection(H11Protocol):
    """A connection that makes room for itself and can say when its time is over.

    It is h11's, whatever else is installed: that reads one request at a time and bounds what it keeps of it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = _errors_only
        self.app_state = {**self.app_state, "connection": self}  # part of the scope of each request
        self.opened = self._since = monotonic_seconds()
        self.last_turn = 0.0
        self.network = ""
        self._step: tuple[object, bool] = (None, False)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Close another connection where this is one too many."""
        super().connection_made(transport)
        self.network = network_of(self.client[0] if self.client else "")
        others = cast("set[BoundedConnection]", self.connections - {self})
        peers = {other for other in others if other.network == self.network}
        crowd = peers if len(peers) >= MAX_CONNECTIONS_PER_NETWORK else others
        if crowd is peers or len(others) >= MAX_CONNECTIONS:
            new = self.opened - _NEW_SECONDS
            # Last those that wait for our answer or are new, else the oldest first.
            min(crowd, key=lambda other: (other.is_answering() or other.opened > new, other.opened)).end()

    def is_answering(self) -> bool:
        """Tell if a request was read whose answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def is_overdue(self, now: float) -> bool:
        """Tell if its state has lasted too long; asked now and then. Bytes are no step, whole messages are."""
        busy = self.is_answering() or self.transport.get_write_buffer_size() > 0
        if self._step != (self.cycle, busy):
            self._step, self._since = (self.cycle, busy), now
        limit = REQUEST_SECONDS if self.cycle is None else IDLE_SECONDS
        return now - self._since >= (ANSWER_SECONDS if busy else limit)

    def end(self) -> None:
        """Close at once, whatever was not read yet; the place is free from now on."""
        self.connections.discard(self)
        self.transport.abort()

    def shutdown(self) -> None:
        """End as uvicorn does, but for a client that does not read: a stop waits for nobody."""
        super().shutdown()
        if self.transport.get_write_buffer_size() > 0:
            self.end()


class TurnTaking:
    """An ASGI application that begins few requests at once, those first whose connection was not answered for long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: dict[BoundedConnection, asyncio.Future[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: BoundedConnection = scope["state"]["connection"]
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._give_turns)
        turn = self._waiting[connection] = loop.create_future()
        await turn
        if not connection.cycle.disconnected:
            await self._app(scope, receive, send)

    def _give_turns(self) -> None:
        for connection in nsmallest(_REQUESTS_AT_ONCE, self._waiting, lambda other: (other.last_turn, other.opened)):
            connection.last_turn = monotonic_seconds()
            turn = self._waiting.pop(connection)
            if not turn.done():  # by a server that stops
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._give_turns)


async def close_overdue_connections(connections: set[BoundedConnection]) -> None:
    """End those whose time is over, and the oldest of those that leave too much unread, until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        now = monotonic_seconds()
        unread_bytes = 0
        for connection in sorted(connections, key=lambda connection: connection.opened, reverse=True):
            own_bytes = connection.transport.get_write_buffer_size()
            if connection.is_overdue(now) or (own_bytes and unread_bytes > MAX_UNREAD_BYTES):
                connection.end()
            unread_bytes += own_bytes
