"""The log file of one process: rotated by renaming, under a number that no other process holds.

A number is held by locking a file beside the log, and free again when its process has ended, however that ended. The
next process goes on in the same files, so that restarts leave none behind.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.logs.destination import Destination

MAX_PROCESSES = 100
"""Processes that may write side by side: to find a number, one after the other is tried."""

RECOVERED_SECONDS = 10.0
"""Time without failures that ends a problem, so that a disk that is full now and then is told of once."""

# Of a FIFO, neither opening nor writing waits; a link that somebody put in the file's place is not followed.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class LogFile:
    """Writes lines to `NAME.N.SUFFIX`; when full, that becomes `NAME.N.SUFFIX.1`, the one before `.2`, and so on."""

    def __init__(self, path: str, max_bytes: int, kept: int, tell: Callable[[str], object]) -> None:
        """`path` is `NAME.SUFFIX`. `kept` files of `max_bytes` at most are kept beside the one being written.

        `tell` is called with what is wrong, and with "" when it is over. The file is opened for the first line.
        """
        self._name = Path(path).absolute()
        self._max_bytes = max_bytes
        self._kept = kept
        self._tell = tell
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin without a number: it is the parent's."""
        self._path = self._lock_path = self._name
        self._file = self._lock = Destination(None)
        self.problem = ""
        """The reason why lines are dropped, or were a moment ago; empty while all is well."""
        self._failed_at = 0.0

    def write_lines(self, data: bytes) -> int:
        """Write lines, each with its line break; the number of those that went out whole."""
        written, problem = 0, ""
        try:
            while data:
                self._take_number()
                end = self._end_of_file(data)
                written += self._file.write_lines(data[:end])
                if self._file.error is not None:
                    raise self._file.error
                data = data[end:]
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            self._failed_at = monotonic_seconds()
        if self.problem and monotonic_seconds() - self._failed_at < RECOVERED_SECONDS:
            self.problem = problem or self.problem
        elif problem != self.problem:
            self.problem = problem
            self._tell(problem)
        return written

    def _take_number(self) -> None:
        """Lock a number and open its file, unless that is done and both are still there."""
        if self._lock.is_at(self._lock_path) and self._file.is_at(self._path):
            return
        self._file = self._lock = Destination(None)
        self._name.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        refused = OSError(0, f"{MAX_PROCESSES} processes write there already")
        for number in range(MAX_PROCESSES):
            self._path = self._name.with_name(f"{self._name.stem}.{number}{self._name.suffix}")
            self._lock_path = self._name.with_name(f".{self._path.name}.lock")
            with suppress(BlockingIOError):  # another process has it
                try:
                    self._lock = _open(self._lock_path, lock=True)
                    self._file = _open(self._path)
                except PermissionError as error:  # another user's
                    refused = error
                else:
                    return
        raise refused

    def _end_of_file(self, data: bytes) -> int:
        """The end of those lines that the file has room for; of the first, in a new file, where it has none."""
        status = self._path.stat()
        room = self._max_bytes - status.st_size
        if len(data) <= room or not stat.S_ISREG(status.st_mode):
            return len(data)
        end = data.rfind(b"\n", 0, max(room, 0)) + 1
        if not end:
            self._rotate()
        return end or data.find(b"\n") + 1

    def _rotate(self) -> None:
        """Rename the files, which whoever reads them does not notice, and delete the oldest."""
        files = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._kept + 1))]
        for target, source in itertools.pairwise(reversed(files)):
            with suppress(FileNotFoundError):
                source.rename(target)
        with suppress(FileNotFoundError):
            for number in itertools.count(self._kept + 1):  # more were kept once
                Path(f"{self._path}.{number}").unlink()
        self._file = _open(self._path)


def _open(path: Path, *, lock: bool = False) -> Destination:
    """Open a file, made where there is none. Raises OSError, BlockingIOError where another process has locked it."""
    number = os.open(path, _FLAGS, 0o640)
    try:
        if lock:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Destination(number, waits=False)
    finally:
        os.close(number)
