"""Where queued work came from, as files of a relay directory: a folder for each task, a file for each note."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from bisect import bisect
from pathlib import Path

from ordinaut_ext_observability.clock import Clock
from ordinaut_ext_observability.relay.directory_files import RelayFiles

_KEPT = 100
_SWEPT_AT_ONCE = 100
_PLACING_ATTEMPTS = 5


class DirectoryOrigins:
    """Notes about tasks, the oldest first; the time of a file is the note's deadline. Safe from any thread."""

    def __init__(self, files: RelayFiles, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        # Notes of one process that are of the same moment by the clock stay in their order.
        self._count = itertools.count()

    def push(self, task_id: str, content: bytes, *, ttl_seconds: float) -> None:
        now = self._clock.wall()
        folder = self._folder(task_id)
        name = f"{int(now * 1e9):020d}-{next(self._count):012d}-{os.urandom(4).hex()}"
        temporary = self._files.write_temporary(content, time_ns=int((now + ttl_seconds) * 1e9))
        for _ in range(_PLACING_ATTEMPTS):
            folder.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process just removed the folder as empty
                temporary.rename(folder / name)
                break
        else:
            self._files.place(temporary, folder / name)
        for path in _notes(folder)[:-_KEPT]:
            path.unlink(missing_ok=True)

    def pop(self, task_id: str) -> bytes | None:
        for path in _notes(self._folder(task_id)):
            if self._removed_as_expired(path):
                continue
            content = self._files.take(path)
            if content is not None:
                return content
        return None

    def sweep(self) -> None:
        """Remove expired notes and empty folders of some tasks, others each time."""
        names = sorted(os.listdir(self._files.origins))  # noqa: PTH208 - only the names are wanted
        start = bisect(names, os.urandom(32).hex())
        for name in (names[start:] + names[:start])[:_SWEPT_AT_ONCE]:
            folder = self._files.origins / name
            left = [path for path in _notes(folder) if not self._removed_as_expired(path)]
            if not left:
                with contextlib.suppress(OSError):  # not empty any more
                    folder.rmdir()

    def _folder(self, task_id: str) -> Path:
        # Hashed, since a task id may hold anything.
        return self._files.origins / hashlib.sha256(task_id.encode(errors="backslashreplace")).hexdigest()

    def _removed_as_expired(self, path: Path) -> bool:
        """Whether the note is no more."""
        try:
            expired = path.stat().st_mtime <= self._clock.wall()
        except FileNotFoundError:
            return True
        if expired:
            path.unlink(missing_ok=True)
        return expired


def _notes(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
