"""Sending and asking for the origins of work, without anybody's work waiting for the store."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import Append, Cluster, ClusterUnavailableError
from ordinaut_ext_observability.relay.origins import Origin, decode_origin, encode_origin

TTL_SECONDS = 3600.0
WAIT_SECONDS = 0.1
"""How long a worker waits to be told where its work comes from."""

_PAUSE_SECONDS = 30.0
"""After a failure nobody waits for so long."""

_MAX_WAITING = 1000
_SENT_AT_ONCE = 100
_MAX_DISCARDED = 100


class _Question:
    """A worker that waits for the origin of a task's work."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.answered = threading.Event()
        self.given_up = False
        self.origin: Origin | None = None


class OriginDesk:
    """Takes origins and questions from any thread; `work` is done by the thread that owns the connection.

    Origins of a task are handed out in the order in which its work was queued. After a time in which some could not be
    asked for, those of that time are thrown away: they would go to the wrong work.
    """

    def __init__(self, clock: Clock, wake: Callable[[], None], on_failure: Callable[[], None]) -> None:
        """`wake` makes the thread call `work` soon; `on_failure` is told of each failed call of the store."""
        self._clock = clock
        self._wake = wake
        self._on_failure = on_failure
        self._outgoing: deque[tuple[str, bytes]] = deque(maxlen=_MAX_WAITING)
        self._questions: deque[_Question] = deque(maxlen=_MAX_WAITING)
        self._push_pause_until = self._pop_pause_until = 0.0
        self._missed_until = 0.0

    def push(self, task_id: str, origin: Origin) -> None:
        """Send where a piece of work comes from; returns at once."""
        self._outgoing.append((task_id, encode_origin(origin)))
        self._wake()

    def pop(self, task_id: str) -> Origin | None:
        """Where the oldest work of this task comes from, within `WAIT_SECONDS`; None if that is not known."""
        if self._clock.monotonic() < self._pop_pause_until:
            self._missed_until = self._clock.wall()
            return None
        question = _Question(task_id)
        self._questions.append(question)
        self._wake()
        if not question.answered.wait(WAIT_SECONDS):
            question.given_up = True
            self._pop_failed()
        return question.origin

    def work(self, cluster: Cluster) -> None:
        """Answer and send what waits."""
        while self._questions:
            self._answer(cluster, self._questions.popleft())
        for _ in range(min(len(self._outgoing), _SENT_AT_ONCE)):
            if self._clock.monotonic() < self._push_pause_until:
                return
            task_id, content = self._outgoing.popleft()
            try:
                cluster.write(rows=[Append(_queue(task_id), content, TTL_SECONDS)])
            except ClusterUnavailableError:
                self._on_failure()
                self._push_pause_until = self._clock.monotonic() + _PAUSE_SECONDS

    def _answer(self, cluster: Cluster, question: _Question) -> None:
        try:
            for _ in range(_MAX_DISCARDED):
                rows = [] if question.given_up else cluster.take(_queue(question.task_id))
                if not rows:
                    break
                origin = decode_origin(rows[0])
                if origin is not None and origin.queued_at > self._missed_until:
                    question.origin = origin
                    break
        except ClusterUnavailableError:
            self._on_failure()
            self._pop_failed()
        finally:
            question.answered.set()

    def _pop_failed(self) -> None:
        self._pop_pause_until = self._clock.monotonic() + _PAUSE_SECONDS
        self._missed_until = self._clock.wall()


def _queue(task_id: str) -> str:
    return f"origin:{task_id}"
