"""Where queued work came from: the ids of the request that queued it, on their way to the worker.

Nobody's work waits for the store: sending returns at once, and asking gives up soon.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.tasks import BackgroundThread
from ordinaut_ext_observability.cluster.base import Append, ClusterUnavailableError
from ordinaut_ext_observability.correlation.context import RequestIds
from ordinaut_ext_observability.correlation.ids import match_client_id, parse_traceparent
from ordinaut_ext_observability.relay.exchange import Exchange

TTL_SECONDS = 3600.0
"""Work that waits for longer has no origin any more: nobody looks for its lines together."""

WAIT_SECONDS = 0.1
"""Longest wait of a worker to be told where its work comes from."""

_PAUSE_SECONDS = 30.0
"""After a failure nobody waits, and nothing is sent, for so long."""

_MAX_WAITING = 1000
_MAX_DISCARDED = 100


class OriginQueue:
    """Ids of requests, handed out in the order in which the work of a task was queued. Called from any thread.

    After a time in which some could not be asked for, those of that time are thrown away: they would go to the wrong
    work.
    """

    def __init__(
        self, thread: BackgroundThread, clock: Clock, exchange: Exchange, on_failure: Callable[[], None]
    ) -> None:
        """`thread` owns the connection to the store of `exchange`."""
        self._thread = thread
        self._clock = clock
        self._exchange = exchange
        self._on_failure = on_failure
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Drop what waits: the parent sends it."""
        self._outgoing: deque[Append] = deque(maxlen=_MAX_WAITING)
        self._pause_until = self._missed_until = 0.0

    def push(self, task_id: str, ids: RequestIds) -> None:
        """Send which request queued a piece of work now; returns at once."""
        if self._thread.started:
            self._outgoing.append(Append(f"origin:{task_id}", encode_origin(ids, self._clock.wall()), TTL_SECONDS))
            self._thread.call_soon(self.send)

    def pop(self, task_id: str) -> RequestIds | None:
        """The request that queued the oldest work of this task, within `WAIT_SECONDS`; None if that is not known."""
        if self._exchange.store is None or self._clock.monotonic() < self._pause_until:
            self._missed_until = self._clock.wall()
            return None
        answer: Future[RequestIds | None] = Future()
        if not self._thread.call_soon(self._answer, task_id, answer):
            return None
        try:
            return answer.result(WAIT_SECONDS)
        except TimeoutError:
            answer.cancel()
            self._pause()
            return None

    def send(self) -> None:
        """Send what waits; called in the thread."""
        store = self._exchange.store
        if store is None or not self._outgoing or self._clock.monotonic() < self._pause_until:
            return
        try:
            store.write(rows=[self._outgoing.popleft() for _ in range(len(self._outgoing))])
        except ClusterUnavailableError:
            self._on_failure()
            self._pause()

    def _answer(self, task_id: str, answer: Future[RequestIds | None]) -> None:
        if answer.set_running_or_notify_cancel():
            answer.set_result(self._take(task_id))

    def _take(self, task_id: str) -> RequestIds | None:
        try:
            for _ in range(_MAX_DISCARDED):
                store = self._exchange.store
                rows = store.take(f"origin:{task_id}") if store is not None else []
                if not rows:
                    break
                ids, queued_at = decode_origin(rows[0])
                if queued_at > self._missed_until:
                    return ids
        except ClusterUnavailableError:
            self._on_failure()
            self._pause()
        return None

    def _pause(self) -> None:
        self._pause_until = self._clock.monotonic() + _PAUSE_SECONDS
        self._missed_until = self._clock.wall()


def encode_origin(ids: RequestIds, queued_at: float) -> bytes:
    """The correlation id, a `traceparent` and the time in seconds since 1970, with spaces between."""
    correlation_id, trace_id, span_id, sampled = ids
    return f"{correlation_id} 00-{trace_id}-{span_id}-{'01' if sampled else '00'} {queued_at:.3f}".encode()


def decode_origin(content: bytes) -> tuple[RequestIds | None, float]:
    """The origin that `encode_origin` was given; None and 0 for other text, which must not reach log lines."""
    correlation_id, _, rest = content.partition(b" ")
    traceparent, _, queued_at = rest.partition(b" ")
    trace = parse_traceparent(traceparent)
    with suppress(ValueError):
        if trace is not None and match_client_id(correlation_id):
            return (correlation_id.decode(), *trace), float(queued_at)
    return None, 0.0
