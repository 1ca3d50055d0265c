"""Growth of memory by line of code, in sessions that always end: tracing slows allocations down several times."""

from __future__ import annotations

import contextlib
import threading
import tracemalloc

from ordinaut_ext_observability.background.fork import reset_in_forked_child

LONGEST_SECONDS = 300.0  # of a session: leaks show in minutes, and one that nobody ends costs no longer
MAX_SNAPSHOTS = 20  # of a session: each has an entry for every line that allocated, a few megabytes at most
_one_session = threading.Lock()  # tracing is the process's


class MemoryTracker:
    """A session: `take_snapshot("start")`, the work, `take_snapshot("end")`, `compare_snapshots("start", "end")`.

    It begins with the first snapshot and ends with `close`, a comparison, or after five minutes. One runs at a time in
    a process; others take no snapshots meanwhile.
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
        try:
            if not self._timers and _one_session.acquire(blocking=False):
                self._snapshots, self._was_on = {}, tracemalloc.is_tracing()
                tracemalloc.start(tracemalloc.get_traceback_limit())
                self._timers.append(threading.Timer(LONGEST_SECONDS, self.close))
                self._timers[0].daemon = True
                self._timers[0].start()
            if self._timers and len(self._snapshots) < MAX_SNAPSHOTS:
                held = tracemalloc.take_snapshot().statistics("lineno")
                self._snapshots[name] = {str(each.traceback): (each.size, each.count) for each in held}
                return True
        except RuntimeError:  # no thread, or tracing was ended by others: the host's work goes on
            self.close()
        return False

    def growth(self, before: str, after: str) -> list[tuple[int, int, str]]:
        """Bytes and blocks by which each line's memory changed, and the line; the largest growth first."""
        if not {before, after} <= self._snapshots.keys():
            return []
        old, new, changes = self._snapshots[before], self._snapshots[after], []
        for line in old.keys() | new.keys():
            (old_bytes, old_count), (new_bytes, new_count) = old.get(line, (0, 0)), new.get(line, (0, 0))
            if not line.startswith((tracemalloc.__file__, __file__)):
                changes.append((new_bytes - old_bytes, new_count - old_count, line))
        return sorted((change for change in changes if any(change[:2])), reverse=True)

    def compare_snapshots(self, before: str, after: str) -> list[str]:
        """End the session; the ten lines that grew most as `/srv/app.py:31: 512.4 KB`, none without both snapshots."""
        self.close()
        return [f"{line}: {size / 1024:.1f} KB" for size, _, line in self.growth(before, after)[:10] if size > 0]
