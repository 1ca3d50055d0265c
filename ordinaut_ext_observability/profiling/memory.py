"""Growth of memory by line of code, in sessions that always end: tracing slows allocations down several times."""

from __future__ import annotations

import contextlib
import threading
import tracemalloc
from typing import Any

from ordinaut_ext_observability.background.fork import reset_in_forked_child

LONGEST_SECONDS = 300.0
"""Longest session: leaks show in minutes, and a session that nobody ends costs no longer."""
MAX_SNAPSHOTS = 20
"""Snapshots of a session; each has an entry for every line that allocated, a few megabytes at most."""
_one_session = threading.Lock()  # tracing is the process's


class MemoryTracker:
    """A session: begins with the first snapshot, ends with `close`, a comparison, or after five minutes.

    One runs at a time in a process; snapshots of others are not taken meanwhile::

        tracker.take_snapshot("start")
        run_pipeline()
        tracker.take_snapshot("end")
        tracker.compare_snapshots("start", "end")  # ['/srv/app.py:31: 512.4 KB']
    """

    def __init__(self) -> None:
        self._snapshots: dict[str, dict[str, tuple[int, int]]] = {}
        self._timers: list[threading.Timer] = []  # one while the session runs
        reset_in_forked_child(self)

    def close(self) -> None:
        """End the session. Its snapshots stay until the next begins, and tracing stays on where it was before."""
        with contextlib.suppress(IndexError):  # it has ended
            self._timers.pop().cancel()
            if not self._was_on:
                tracemalloc.stop()
            _one_session.release()

    reset_after_fork = close

    def take_snapshot(self, name: str) -> bool:
        """Note what each line holds of the memory allocated in the session. May stop all threads for up to 1.5 s.

        False, and nothing is noted, while another session runs, after `MAX_SNAPSHOTS`, without a thread to end it.
        """
        with contextlib.suppress(RuntimeError):  # no thread, or tracing was ended by others: the host's work goes on
            if (self._timers or self._begin()) and len(self._snapshots) < MAX_SNAPSHOTS:
                held = tracemalloc.take_snapshot().statistics("lineno")
                self._snapshots[name] = {str(each.traceback): (each.size, each.count) for each in held}
                return True
        return False

    def growth(self, before: str, after: str) -> list[dict[str, Any]]:
        """Lines whose memory changed, by how many `bytes` and blocks (`count`), the largest growth first."""
        if not {before, after} <= self._snapshots.keys():
            return []
        old, new, changes = self._snapshots[before], self._snapshots[after], []
        for line in old.keys() | new.keys():
            less, more = old.get(line, (0, 0)), new.get(line, (0, 0))
            if less != more and not line.startswith((tracemalloc.__file__, __file__)):
                changes.append({"line": line, "bytes": more[0] - less[0], "count": more[1] - less[1]})
        return sorted(changes, key=lambda change: (-change["bytes"], change["line"]))

    def compare_snapshots(self, before: str, after: str) -> list[str]:
        """End the session; the ten lines that grew most, none where a snapshot is missing."""
        self.close()
        grown = [change for change in self.growth(before, after)[:10] if change["bytes"] > 0]
        return [f"{change['line']}: {change['bytes'] / 1024:.1f} KB" for change in grown]

    def _begin(self) -> bool:
        timer = threading.Timer(LONGEST_SECONDS, self.close)
        timer.daemon = True
        timer.start()
        if not _one_session.acquire(blocking=False):
            timer.cancel()
            return False
        self._snapshots, self._was_on = {}, tracemalloc.is_tracing()
        tracemalloc.start(tracemalloc.get_traceback_limit())
        self._timers.append(timer)
        return True
