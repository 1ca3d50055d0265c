"""Writing log lines without ever making the caller wait.

A full pipe or a slow disk blocks whoever writes to it. Here that is a thread: `write` appends to a bounded queue and
returns. Lines that do not fit are dropped and counted, those of errors last.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable

from ordinaut_ext_observability.background.clock import monotonic_seconds, thread_cpu_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.logs.destination import Destination

GATHER_SECONDS = 0.02
"""How long lines are gathered before one write; at most this much is lost with a killed process."""

MAX_QUEUED_LINES = 20_000
"""Lines kept while the destination does not take them; urgent ones may use as many again."""

CLOSE_SECONDS = 0.4
"""Longest wait, at the end, for a destination that does not take lines: the process must end soon all the same."""

_LINES_PER_WRITE = 1000


class LogWriter:
    """Writes lines to a file descriptor from a thread of its own, which starts with the first line.

    A forked child starts with an empty queue and a thread of its own: the parent writes what it queued.
    """

    def __init__(
        self,
        file_descriptor: int | None,
        *,
        max_queued_lines: int = MAX_QUEUED_LINES,
        on_written: Callable[[int], None] = lambda _lines: None,
        on_dropped: Callable[[int], None] = lambda _lines: None,
        on_cpu_seconds: Callable[[float], None] = lambda _seconds: None,
        on_error: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        """Lines go to what the descriptor stands for now; without one they are dropped, and counted.

        `on_error` is told what another callback raised; like the others it is called in the writer's thread.
        """
        self._destination = Destination(file_descriptor)
        self._max_queued_lines = max_queued_lines
        self._on_written = on_written
        self._on_dropped = on_dropped
        self._on_cpu_seconds = on_cpu_seconds
        self._on_error = on_error
        self._before_writing: list[Callable[[], None]] = []
        self._process_ends = False
        self.reset_after_fork()
        reset_in_forked_child(self)
        weakref.finalize(self, _end, weakref.ref(self))  # also at exit; unlike what `atexit` keeps, it goes with this

    def reset_after_fork(self) -> None:
        """Begin as a writer that has written nothing."""
        self._queue: deque[str] = deque()
        self._awake = False
        self._wake_event = threading.Event()
        self._hurry = threading.Event()
        self._state = threading.Condition()
        # What the condition guards. The thread ends only when it is asked to and nothing is queued.
        self._thread: threading.Thread | None = None
        self._ending = False
        self._rounds_begun = 0
        self._rounds_done = 0
        self._rounds_wanted = 0
        self._ends_with_worker = False

    def write(self, line: str, *, urgent: bool = False) -> None:
        """Queue one line, without its line break. `urgent` lines are kept when others are dropped."""
        queue = self._queue
        limit = self._max_queued_lines
        if len(queue) >= (2 * limit if urgent else limit):
            self._on_dropped(1)
            return
        queue.append(line)
        if not self._awake:
            self.wake()

    def wake(self) -> None:
        """Have the thread write soon."""
        if not self._awake:
            self._awake = True
            self._start()
            self._wake_event.set()

    def before_writing(self, callback: Callable[[], None]) -> None:
        """Call this in the thread before it takes the queued lines: more may be queued then."""
        self._before_writing.append(callback)

    @property
    def is_running(self) -> bool:
        """Whether there is a thread; without one nothing is queued."""
        return self._thread is not None

    def flush(self, timeout_seconds: float = 1.0) -> bool:
        """Wait until what is queued now has been written; False if that took too long."""
        if self._thread is None and not self._queue and not self._before_writing:
            return True
        with self._state:
            wanted = self._rounds_wanted = self._rounds_begun + 1
        self._start()
        self._hurry.set()
        self._wake_event.set()
        timeout = 0.0 if self._process_ends else timeout_seconds  # logging.shutdown() asks once more
        with self._state:
            return self._state.wait_for(lambda: self._rounds_done >= wanted, timeout)

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Write what is queued and end the thread. Lines written later start it again.

        A thread whose destination takes nothing is left to itself; it ends when it could write all.
        """
        deadline = monotonic_seconds() + timeout_seconds
        self.flush(timeout_seconds)
        with self._state:
            thread = self._thread
            self._ending = True
        self._wake_event.set()
        if thread is not None:
            thread.join(max(0.0, deadline - monotonic_seconds()))

    def end_with_process(self) -> None:
        """Write what is queued, and from now on in the calling thread: nobody would wait for another, or end it."""
        # A thread that was to end before and still runs is stuck: nothing is waited for twice.
        stuck = self._ending and self._thread is not None
        self._process_ends = True
        self.close(0.0 if stuck else CLOSE_SECONDS)

    def _start(self) -> None:
        """Start the thread unless it runs. While the process ends there are no new threads: then write here."""
        if self._thread is not None:
            return
        with self._state:
            if self._thread is not None:
                return
            self._ending = False
            self._hurry.clear()
            if self._process_ends or sys.is_finalizing():
                self._awake = False
                self._round()
                return
            self._end_with_worker()
            thread = threading.Thread(target=self._run, name="observability-log-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._awake = False
                self._round()
            else:
                self._thread = thread

    def _end_with_worker(self) -> None:
        """Workers of `multiprocessing` end without what is registered with `atexit`."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not self._ends_with_worker:
            self._ends_with_worker = True
            util.Finalize(self, _end, (weakref.ref(self),), exitpriority=0)

    def _run(self) -> None:
        while not self._has_ended():
            self._wake_event.wait()
            if not self._ending:
                self._hurry.wait(GATHER_SECONDS)
            self._hurry.clear()
            self._wake_event.clear()
            self._awake = False  # before the queue is emptied: a line added from here on wakes the thread again
            started = thread_cpu_seconds()
            self._round()
            self._call(self._on_cpu_seconds, thread_cpu_seconds() - started)

    def _has_ended(self) -> bool:
        with self._state:
            if self._ending:
                self._awake = False  # before the queue is looked at: a line added from here on starts a new thread
                if not self._queue and self._rounds_done >= self._rounds_wanted:
                    self._thread = None
                    return True
                self._wake_event.set()
            return False

    def _round(self) -> None:
        """Write what is queued."""
        with self._state:
            self._rounds_begun += 1
            this_round = self._rounds_begun
        for callback in self._before_writing:
            self._call(callback)
        while self._queue:
            lines = [self._queue.popleft() for _ in range(min(len(self._queue), _LINES_PER_WRITE))]
            data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
            written = self._destination.write_lines(data)
            self._count(written, len(lines) - written)
        with self._state:
            self._rounds_done = this_round
            self._state.notify_all()

    def _count(self, written: int, dropped: int) -> None:
        if written:
            self._call(self._on_written, written)
        if dropped:
            self._call(self._on_dropped, dropped)

    def _call(self, callback: Callable[..., None], *arguments: float) -> None:
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - lines go on whatever is made of their number
            with contextlib.suppress(Exception):  # there is nobody left to tell
                self._on_error(error)


def _end(writer: weakref.ref[LogWriter]) -> None:
    alive = writer()
    if alive is not None:
        alive.end_with_process()
