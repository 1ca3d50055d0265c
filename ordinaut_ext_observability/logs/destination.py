"""The place where lines go: what a descriptor stood for at the start, whatever its number stands for later.

A number is free once its file is closed, and the next socket or database file the host opens gets it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat
import sys
from pathlib import Path

_LEAST_OWN_NUMBER = 3  # below are the standard streams: ours must not become one of them
_RETRY_MILLISECONDS = 1000


def standard_stream(name: str) -> int | None:
    """The number of stdout or stderr; None where the process was started without, or that is another file by now.

    What was opened since is told by its flag: nothing that closes on exec can have come through one. No internet socket
    is a standard stream, flag or not.
    """
    number = 1 if name == "stdout" else 2
    if getattr(sys, f"__{name}__", None) is None:  # the process was started without
        return None
    try:
        if fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
            return None
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            with socket.socket(fileno=os.dup(number)) as duplicate:
                return None if duplicate.family in (socket.AF_INET, socket.AF_INET6) else number
    except OSError:
        return None
    return number


class Destination:
    """Holds what a descriptor stands for under a number of its own, and writes to nothing else."""

    __slots__ = ("_identity", "_numbers", "_waits", "error", "torn")

    def __init__(self, file_descriptor: int | None, *, waits: bool = True) -> None:
        """With None, or a descriptor that is not open, no line is ever written. `waits`: longer than a second."""
        self.torn = False
        self._waits = waits
        self.error: Exception | None = None
        """The reason why the last lines did not all go out."""
        self._identity: tuple[int, int, int] | None = None
        self._numbers: tuple[int, ...] = ()
        file_descriptor = -1 if file_descriptor is None else file_descriptor
        with contextlib.suppress(OSError):
            self._identity = _identity(file_descriptor)
            self._numbers = (file_descriptor,)
            # The one given is a second choice, for as long as it is the same file: the host may close all it did not
            # open, or have no number left.
            own = fcntl.fcntl(file_descriptor, fcntl.F_DUPFD_CLOEXEC, _LEAST_OWN_NUMBER)
            self._numbers = (own, file_descriptor)

    def __del__(self) -> None:
        """Close the number of our own, unless it is another file's by now."""
        if len(self._numbers) > 1 and _is_file(self._numbers[0], self._identity):
            os.close(self._numbers[0])

    def is_at(self, path: Path) -> bool:
        """True where a path stands for the same file, which is still open."""
        return any(_is_file(each, self._identity) for each in self._numbers) and _is_file(path, self._identity)

    def write_lines(self, data: bytes) -> int:
        """Write lines, each with its line break; the number of those that did not go out whole.

        Waits for a destination that is full. Where the last line broke off, the next begins on a line of its own.
        """
        torn = self.torn
        data = b"\n" + data if torn else data
        # A pipe takes no more at once than other processes cannot write in between.
        # Source: https://man7.org/linux/man-pages/man7/pipe.7.html, PIPE_BUF.
        at_once = select.PIPE_BUF if self._identity is not None and stat.S_ISFIFO(self._identity[2]) else len(data)
        sent = 0
        self.error = None
        try:
            while sent < len(data):
                sent += self._write_some(data, sent, at_once)
        except (OSError, ValueError) as error:
            self.error = error
        if sent:
            self.torn = data[sent - 1 : sent] != b"\n"
        return data.count(b"\n", max(sent, torn))

    def _write_some(self, data: bytes, start: int, at_once: int) -> int:
        """Write as many whole lines as fit; a line that alone is longer stays whole."""
        number = next((each for each in self._numbers if _is_file(each, self._identity)), -1)  # -1: closed since
        end = start + at_once
        if end < len(data):
            end = data.rfind(b"\n", start, end) + 1 or data.find(b"\n", end) + 1
        try:
            return os.write(number, memoryview(data)[start:end])
        except BlockingIOError:  # shared with a program that set it not to block
            poll = select.poll()
            poll.register(number, select.POLLOUT)
            if not poll.poll(_RETRY_MILLISECONDS) and not self._waits:
                raise BlockingIOError(0, "it is full, and nobody reads it") from None
            return 0


def _is_file(file: int | Path, identity: tuple[int, int, int] | None) -> bool:
    with contextlib.suppress(OSError):
        return _identity(file) == identity
    return False


def _identity(file: int | Path) -> tuple[int, int, int]:
    """The device, the inode and the kind of a file."""
    status = os.stat(file)  # noqa: PTH116 - of a descriptor too
    return status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode)
