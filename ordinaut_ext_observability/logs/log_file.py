"""The log file of one process, rotated by renaming, under a number that no other process holds.

A number is held by a lock on a file, until the process ends in any way; the next goes on with its files.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.logs.destination import Destination

MAX_PROCESSES = 100
"""Processes that may write side by side: to find a number, one after the other is tried."""

SAME_PROBLEM_SECONDS = 60.0
"""Failures that follow each other faster are told of once: a disk may be full by turns."""

# Of a FIFO, neither opening nor writing waits; a link that somebody put in the file's place is not followed.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class LogFile(Destination):
    """Writes lines to `NAME.N.SUFFIX`; when full, that becomes `NAME.N.SUFFIX.1`, the one before `.2`, and so on."""

    def __init__(self, path: str, max_bytes: int, kept: int, tell: Callable[[str], object]) -> None:
        """`path` is `NAME.SUFFIX`; `kept` files of so many bytes at most are kept beside the one being written."""
        super().__init__(None)
        self._name = Path(path).absolute()
        self._max_bytes, self._kept, self._tell = max_bytes, kept, tell
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin without a number: it is the parent's."""
        self._path = self._lock_path = self._name
        self._file = self._lock = Destination(None)
        self.problem = ""
        """The reason why the last lines were dropped; empty where they were written."""
        self._failed_at = -SAME_PROBLEM_SECONDS

    def write_lines(self, data: bytes) -> int:
        """Write lines, each with its line break; the number of those that did not go out whole."""
        lost, problem = 0, ""
        try:
            while data:
                self._take_number()
                end = self._end_of_file(data)
                lost = self._file.write_lines(data[:end])
                data = data[end:]
                if self._file.error is not None:
                    raise self._file.error
        except (OSError, ValueError) as error:
            lost += data.count(b"\n")
            problem = getattr(error, "strerror", None) or str(error)
            failed_before, self._failed_at = self._failed_at, monotonic_seconds()
            if self._failed_at - failed_before > SAME_PROBLEM_SECONDS:
                self._tell(problem)
        self.problem = problem
        return lost

    def _take_number(self) -> None:
        """Lock a number and open its file, unless that is done and both are still there."""
        if self._lock.is_at(self._lock_path) and self._file.is_at(self._path):
            return
        self._file = self._lock = Destination(None)
        self._name.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        for number in range(MAX_PROCESSES):
            self._path = self._name.with_name(f"{self._name.stem}.{number}{self._name.suffix}")
            self._lock_path = self._name.with_name(f".{self._path.name}.lock")
            with suppress(BlockingIOError, PermissionError):  # another process has it, or another user
                self._lock = _open(self._lock_path)
                self._file = _open(self._path)
                return
        raise OSError(0, f"not allowed there, or {MAX_PROCESSES} processes write there already")

    def _end_of_file(self, data: bytes) -> int:
        """The end of those lines that the file has room for; of the first, in a new file, where it has none."""
        room = self._max_bytes - self._path.stat().st_size
        if len(data) <= room or not self._path.is_file():  # but a FIFO
            return len(data)
        end = data.rfind(b"\n", 0, max(room, 0)) + 1
        if not end:
            self._rotate()
        return end or data.find(b"\n") + 1

    def _rotate(self) -> None:
        """Rename the files, which whoever reads them does not notice; the oldest is overwritten."""
        for number in range(self._kept, 0, -1):
            with suppress(FileNotFoundError):
                Path(f"{self._path}.{number - 1}" if number > 1 else self._path).rename(f"{self._path}.{number}")
        self._file = _open(self._path)


def _open(path: Path) -> Destination:
    """Open and lock a file, made where there is none. Raises OSError, BlockingIOError where another process has it."""
    number = os.open(path, _FLAGS, 0o640)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file = Destination(number, waits=False)
        with suppress(OSError):  # it is empty, or a FIFO
            file.torn = os.pread(number, 1, os.fstat(number).st_size - 1) != b"\n"  # by a process that was killed
        return file
    finally:
        os.close(number)
