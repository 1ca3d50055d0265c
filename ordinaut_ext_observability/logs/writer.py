"""Writing log lines without ever making the caller wait.

A full pipe or a slow disk blocks a thread: `write` appends to a bounded queue and returns. Lines that do not fit are
dropped and counted, those of errors last.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ordinaut_ext_observability.background.clock import monotonic_seconds, thread_cpu_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.logs.destination import Destination

GATHER_SECONDS = 0.1
"""Time for which lines are gathered before one write, since waking the thread for each costs more than the lines.

At most this much is lost with a killed process; urgent lines and full batches do not wait.
"""

MAX_QUEUED_LINES = 20_000
"""Lines kept while the destination does not take them; urgent ones may use as many again."""

CLOSE_SECONDS = 0.4
"""Longest wait, at the end, for a destination that does not take lines: the process must end soon all the same."""

LEVEL_AT = len('{"timestamp":"2026-11-23T22:19:04.123Z","level":"')
"""Place of the level in every line."""

_LINES_PER_WRITE = 1000
_IDLE, _SOON, _NOW = range(3)  # how soon the thread is to write


@dataclass(frozen=True, slots=True)
class WriterReports:
    """Functions that are told what a writer did: called in its thread, `dropped` also in a caller's."""

    written: Callable[[int], object] = lambda _lines: None
    dropped: Callable[[int], object] = lambda _lines: None
    cpu_seconds: Callable[[float], object] = lambda _seconds: None
    error: Callable[[Exception], object] = lambda _raised_by_another: None


class LogWriter:
    """Writes lines to a destination from a thread of its own, which starts with the first line.

    A forked child starts with an empty queue and a thread of its own: the parent writes what it queued.
    """

    def __init__(self, target: Destination | int | None, reports: WriterReports = WriterReports()) -> None:
        """Lines go to what a descriptor stands for now; without one they are dropped, and counted."""
        self._destination = target if isinstance(target, Destination) else Destination(target)
        self.writers: list[LogWriter] = []  # they get the lines instead of the destination, and wait for no other
        self._reports = reports
        self._max_queued_lines = MAX_QUEUED_LINES
        self.before_writing: list[Callable[[], None]] = []
        """Called in the thread before it takes the queued lines: more may be queued then."""
        self.scrub: Callable[[Sequence[str]], Sequence[str]] = lambda lines: lines
        """Gives lines as they may be shown, and never raises; called in the thread."""
        self.on_lines: Callable[[list[str]], object] = lambda _lines: None  # called in the thread, with those it takes
        self._process_ends = False
        self.reset_after_fork()
        reset_in_forked_child(self)
        weakref.finalize(self, _end, weakref.ref(self))  # also at exit; unlike what `atexit` keeps, it goes with this

    def reset_after_fork(self) -> None:
        """Begin as a writer that has written nothing."""
        self._queue: deque[str] = deque()
        self._flushes: deque[threading.Event] = deque()
        self._pace = _IDLE
        # Of all ways to wake a thread this one may be used anywhere: in a signal's handler, in a destructor.
        self._bell: SimpleQueue[int] = SimpleQueue()
        self._lock = threading.RLock()
        # What the lock guards. The thread ends only when it is asked to and nothing is queued.
        self.thread: threading.Thread | None = None
        self._ending = False

    def write(self, line: str, *, urgent: bool = False) -> None:
        """Queue one line; with a line break it is not scrubbed. `urgent` ones do not wait, and are dropped last."""
        queue = self._queue
        queued = len(queue)
        if queued >= self._max_queued_lines and (not urgent or queued >= 2 * self._max_queued_lines):
            self._reports.dropped(1)
            return
        queue.append(line)
        if self._pace == _IDLE or urgent or queued >= _LINES_PER_WRITE:
            self.wake(urgent=urgent or queued >= _LINES_PER_WRITE)

    def wake(self, *, urgent: bool = False) -> None:
        """Have the thread write soon, or now; in this one where there can be none."""
        pace = _NOW if urgent else _SOON
        if self._pace >= pace:
            return
        with self._lock:
            self._pace = pace
            if self._has_thread():
                self._bell.put(pace)
            else:
                self._pace = _IDLE
                self._write_queued()

    def flush(self, timeout_seconds: float = 1.0) -> bool:
        """Wait until what is queued now has been written; False if that took too long."""
        if self.thread is None and not self._queue and not self.before_writing:
            return True
        ends_at = monotonic_seconds() + timeout_seconds
        written = threading.Event()
        self._flushes.append(written)
        self.wake(urgent=True)
        is_done = written.wait(0.0 if self._process_ends else timeout_seconds)  # logging.shutdown() asks once more
        return all(writer.flush(ends_at - monotonic_seconds()) for writer in self.writers) and is_done

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Write what is queued and end the thread, which ends later where its destination takes nothing now.

        Lines written after that start it again.
        """
        deadline = monotonic_seconds() + timeout_seconds
        self.flush(timeout_seconds)
        with self._lock:
            thread = self.thread
            self._ending = True
        if thread is not None:
            self._bell.put(_NOW)
            thread.join(max(0.0, deadline - monotonic_seconds()))
        for writer in self.writers:
            writer.close(max(0.0, deadline - monotonic_seconds()))

    def end_with_process(self) -> None:
        """Write what is queued, and from now on in the calling thread: nobody would wait for another, or end it."""
        # A thread that was to end before and still runs is stuck: nothing is waited for twice.
        stuck = self._ending and self.thread is not None
        self._process_ends = True
        self.close(0.0 if stuck else CLOSE_SECONDS)

    def _has_thread(self) -> bool:
        """Start the thread unless it runs; False where there can be none, as while the process ends."""
        if self.thread is not None:
            return True
        self._ending = False
        if self._process_ends or sys.is_finalizing():
            return False
        util = sys.modules.get("multiprocessing.util")
        if util is not None:  # its workers end without what is registered with `atexit`
            util.Finalize(self, _end, (weakref.ref(self),), exitpriority=0)
        thread = threading.Thread(target=self._run, name="observability-log-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self.thread = thread
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._ending and self._pace == _IDLE and not self._queue:
                    self.thread = None  # a line added from here on starts a new one
                    return
            if self._bell.get() != _NOW:
                self._gather()
            while self._write_gathered(_SOON) > 1 and not self._ending:
                self._gather()  # where lines come all the time, none need wake the thread
            self._write_gathered(_IDLE)

    def _gather(self) -> None:
        with contextlib.suppress(Empty):  # whatever rings is in a hurry
            self._bell.get(timeout=GATHER_SECONDS)

    def _write_gathered(self, pace: int) -> int:
        self._pace = pace  # before the queue is emptied: where it is idle, a line added from here on wakes the thread
        started = thread_cpu_seconds()
        number = self._write_queued()
        self._call(self._reports.cpu_seconds, thread_cpu_seconds() - started)
        return number

    def _write_queued(self) -> int:
        number = 0
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        for callback in self.before_writing:
            self._call(callback)
        while self._queue:
            lines = [self._queue.popleft() for _ in range(min(len(self._queue), _LINES_PER_WRITE))]
            number += len(lines)
            self._call(self.on_lines, lines)
            looked_at = [line for line in lines if not line.endswith("\n")]
            if looked_at:
                shown = iter(self.scrub(looked_at))
                lines = [line if line.endswith("\n") else f"{next(shown)}\n" for line in lines]
            lost = 0
            if self.writers:
                self._hand_on(lines)
            else:
                lost = self._destination.write_lines("".join(lines).encode("utf-8", "backslashreplace"))
            if lost < len(lines):
                self._call(self._reports.written, len(lines) - lost)
            if lost:
                self._call(self._reports.dropped, lost)
        for flush in flushes:
            flush.set()
        return number

    def _hand_on(self, lines: list[str]) -> None:
        for writer in self.writers:
            for line in lines:
                is_kept = line.startswith(("ERROR", "CRITICAL"), LEVEL_AT) or '"security_event' in line
                writer.write(line, urgent=is_kept)
            writer.wake(urgent=True)  # they have waited already

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - lines go on whatever is made of their number
            with contextlib.suppress(Exception):  # there is nobody left to tell
                self._reports.error(error)


def _end(writer: weakref.ref[LogWriter]) -> None:
    alive = writer()
    if alive is not None:
        alive.end_with_process()
