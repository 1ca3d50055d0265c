"""Writing log lines without ever making the caller wait.

A full pipe or a slow disk blocks whoever writes to it. Here that is a thread: `write` appends to a bounded queue and
returns. Lines that do not fit are dropped and counted, those of errors last.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

from ordinaut_ext_observability.clock import monotonic_seconds, thread_cpu_seconds
from ordinaut_ext_observability.fork import forget_after_fork

GATHER_SECONDS = 0.02
"""How long lines are gathered before one write; at most this much is lost with a killed process."""

MAX_QUEUED_LINES = 20_000
"""Lines kept while the destination does not take them; urgent ones may use as many again."""


class LogWriter:
    """Writes lines to a file descriptor from a thread of its own, which starts with the first line.

    A forked child starts with an empty queue and a thread of its own: the parent writes what it queued.
    """

    def __init__(
        self,
        file_descriptor: int = 2,
        *,
        max_queued_lines: int = MAX_QUEUED_LINES,
        on_written: Callable[[int], None] = lambda _lines: None,
        on_dropped: Callable[[int], None] = lambda _lines: None,
        on_cpu_seconds: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._file_descriptor = file_descriptor
        self._max_queued_lines = max_queued_lines
        self._on_written = on_written
        self._on_dropped = on_dropped
        self._on_cpu_seconds = on_cpu_seconds
        self._before_writing: list[Callable[[], None]] = []
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Begin as a writer that has written nothing."""
        self._queue: deque[str] = deque()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._wake_event = threading.Event()
        self._hurry = threading.Event()
        self._flushed = threading.Event()
        self._awake = False
        self._writing = False
        self._closing = False

    def write(self, line: str, *, urgent: bool = False) -> None:
        """Queue one line, without its line break. `urgent` lines are kept when others are dropped."""
        queue = self._queue
        limit = self._max_queued_lines
        if len(queue) >= (2 * limit if urgent else limit):
            self._on_dropped(1)
            return
        queue.append(line)
        self.wake()

    def wake(self) -> None:
        """Have the thread write soon."""
        if not self._awake:
            self._awake = True
            self._start()
            self._wake_event.set()

    def before_writing(self, callback: Callable[[], None]) -> None:
        """Call this in the thread before it takes the queued lines: more may be queued then. It must not raise."""
        self._before_writing.append(callback)

    def flush(self, timeout_seconds: float = 1.0) -> bool:
        """Wait until what is queued now has been written; False if that took too long."""
        if self._thread is None or not self._thread.is_alive():
            self._write_queued()
            return not self._queue
        deadline = monotonic_seconds() + timeout_seconds
        self._hurry.set()
        self._wake_event.set()
        while self._queue or self._writing:
            if monotonic_seconds() > deadline:
                return False
            self._flushed.wait(0.005)
        return True

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Write what is queued and end the thread. Lines written later start it again."""
        self.flush(timeout_seconds)
        thread = self._thread
        self._closing = True
        self._hurry.set()
        self._wake_event.set()
        if thread is not None:
            thread.join(timeout_seconds)
        self._thread = None
        self._closing = False

    def _start(self) -> None:
        if self._thread is None:
            with self._start_lock:
                if self._thread is None:
                    self._hurry.clear()
                    self._thread = threading.Thread(target=self._run, name="observability-log-writer", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            self._wake_event.wait()
            self._hurry.wait(GATHER_SECONDS)
            self._hurry.clear()
            self._wake_event.clear()
            self._awake = False  # before the queue is emptied: a line added from here on wakes the thread again
            started = thread_cpu_seconds()
            self._write_queued()
            self._on_cpu_seconds(thread_cpu_seconds() - started)

    def _write_queued(self) -> None:
        self._writing = True
        try:
            for callback in self._before_writing:
                callback()
            while self._queue:
                lines = [self._queue.popleft() for _ in range(min(len(self._queue), 1000))]
                self._write_out("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"), len(lines))
        finally:
            self._writing = False
            self._flushed.set()
            self._flushed.clear()

    def _write_out(self, data: bytes, lines: int) -> None:
        try:
            while data:
                data = data[os.write(self._file_descriptor, data) :]
        except OSError:
            self._on_dropped(lines)
        else:
            self._on_written(lines)
