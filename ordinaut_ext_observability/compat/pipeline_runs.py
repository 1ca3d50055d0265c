"""Pipeline executions as the host reports them: begun, ended, and of a failure told twice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from math import nan

from ordinaut_ext_observability.background.fork import reset_in_forked_child

_MAX_REMEMBERED = 10_000


class PipelineRuns:
    """Pairs `started` with the first `success` or `failed` of the same task in the same thread."""

    def __init__(self) -> None:
        self._since: OrderedDict[tuple[str, int], float] = OrderedDict()
        """When each execution was reported as started; infinite for one that ended."""
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """A forked child has a lock of its own: its parent's may have been held."""
        self._lock = threading.RLock()  # a signal's handler may report, too

    def start(self, task_id: str) -> None:
        """An execution of the task began in this thread."""
        with self._lock:
            self._note(task_id, time.perf_counter())

    def end(self, task_id: str) -> float | None:
        """Seconds that the execution which ended took, NaN where its start was not reported.

        None where this is the second time that its end is told.
        """
        with self._lock:
            since = self._note(task_id, _ENDED)
        return None if since == _ENDED else time.perf_counter() - since

    def _note(self, task_id: str, since: float) -> float:
        """What was noted before."""
        key = (task_id, threading.get_ident())
        before = self._since.pop(key, nan)
        self._since[key] = since
        if len(self._since) > _MAX_REMEMBERED:
            self._since.popitem(last=False)
        return before


_ENDED = float("inf")
