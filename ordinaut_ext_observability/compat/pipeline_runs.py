"""Pipeline executions as the host reports them: begun, ended, and of a failure told twice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ordinaut_ext_observability.background.fork import reset_in_forked_child

_MAX_REMEMBERED = 10_000


class Ended(NamedTuple):
    """An execution that ended."""

    seconds: float | None
    """Since it was reported as started; None where that was not reported."""


class PipelineRuns:
    """Pairs `started` with the first `success` or `failed` of the same task in the same thread."""

    def __init__(self, monotonic_seconds: Callable[[], float] = time.perf_counter) -> None:
        self._monotonic_seconds = monotonic_seconds
        self._started: OrderedDict[tuple[str, int], float] = OrderedDict()
        self._ended: OrderedDict[tuple[str, int], None] = OrderedDict()
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """A forked child has a lock of its own: its parent's may have been held."""
        self._lock = threading.RLock()  # a signal's handler may report, too

    def start(self, task_id: str) -> None:
        """An execution of the task began in this thread."""
        key = (task_id, threading.get_ident())
        with self._lock:
            self._ended.pop(key, None)
            self._started[key] = self._monotonic_seconds()
            _forget_oldest(self._started)

    def end(self, task_id: str) -> Ended | None:
        """The execution that ended; None where this is the second time that its end is told."""
        key = (task_id, threading.get_ident())
        with self._lock:
            started = self._started.pop(key, None)
            if started is None and key in self._ended:
                return None
            self._ended[key] = None
            _forget_oldest(self._ended)
        return Ended(self._monotonic_seconds() - started if started is not None else None)


def _forget_oldest(known: OrderedDict[tuple[str, int], float] | OrderedDict[tuple[str, int], None]) -> None:
    while len(known) > _MAX_REMEMBERED:
        known.popitem(last=False)
