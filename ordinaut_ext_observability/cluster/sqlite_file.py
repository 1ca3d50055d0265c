"""One SQLite file that the processes of one user share, opened only where it can be trusted."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.cluster.base import ClusterBusyError, ClusterUnavailableError

MEMORY = ":memory:"
"""The path of a store that is this process's alone and ends with it."""

_BUSY_SECONDS = 0.5
"""Longest wait for another writer. A write takes milliseconds: who holds the file longer was stopped in the middle."""

_POLL_SECONDS = 0.005
"""How often a file is tried that another process writes to: about as long as a write takes."""

_FORK_WAIT_SECONDS = 1.0
"""Longest time that a fork waits: what SQLite does takes milliseconds, on a disk that answers."""

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class _Forks:
    """Lets a fork happen only while SQLite does nothing and has no file open.

    SQLite's own locks would be inherited, held for ever by a thread that the child has not. Of a file that is open it
    notes which locks the process has; the child would believe in locks that it has not, and lose what it writes.
    """

    def __init__(self) -> None:
        self.in_use = threading.RLock()
        """Held while SQLite runs."""
        self.files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
        self.unsafe = False
        """Set in a child that was forked though SQLite was busy: it must not be used there."""
        os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def _before(self) -> None:
        if self.in_use.acquire(timeout=_FORK_WAIT_SECONDS):
            for file in list(self.files):
                if file.path != MEMORY:
                    file.close()

    def _in_parent(self) -> None:
        with suppress(RuntimeError):  # it was not free in time
            self.in_use.release()

    def _in_child(self) -> None:
        try:
            self.in_use.release()
        except RuntimeError:
            self.unsafe = True
        self.in_use = threading.RLock()


_forks = _Forks()


class SqliteFile:
    """A connection, made at the first transaction and again where the file was deleted, replaced or damaged."""

    def __init__(self, path: str, tables: str) -> None:
        """`tables` are statements that make what is missing."""
        self.path = path
        self._tables = tables
        self._version = zlib.crc32(tables.encode()) >> 1
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        with _forks.in_use:
            _forks.files.add(self)

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Run a block in one transaction: all of it takes effect, or nothing where it raises.

        Raises:
            ClusterUnavailableError: the file cannot be opened, is not trusted, is damaged or busy.
        """
        if _forks.unsafe:
            raise ClusterUnavailableError(f"{self.path}: this process was forked while the file was in use")
        try:
            with _forks.in_use:
                connection = self._begin(write=write)
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            raise (ClusterBusyError if _is_busy(error) else ClusterUnavailableError)(f"{self.path}: {error}") from None
        except sqlite3.DatabaseError as error:
            self._discard()
            raise ClusterUnavailableError(f"{self.path}: {error}; it begins anew") from None
        except OSError as error:
            raise ClusterUnavailableError(f"{self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the connection; the next transaction opens another."""
        with _forks.in_use:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _begin(self, *, write: bool) -> sqlite3.Connection:
        ends_at = monotonic_seconds() + _BUSY_SECONDS
        while True:
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # what is read is of this moment
            except sqlite3.OperationalError as error:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if not _is_busy(error) or monotonic_seconds() >= ends_at:
                    raise
            else:
                return connection
            # Waited for here rather than in SQLite, so that a fork need not wait for another process.
            _forks.in_use.release()
            time.sleep(_POLL_SECONDS)
            _forks.in_use.acquire()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode() != self._identity:
            self.close()
        if self._connection is None:
            self._trust()
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                # What is lost with the machine is lost with its processes: nobody waits for the disk.
                connection.execute("PRAGMA synchronous = OFF")
                ((made_by,),) = connection.execute("PRAGMA user_version")
                if made_by != self._version:  # else nothing is written: a file that is held can be read
                    connection.executescript(
                        f"BEGIN IMMEDIATE;{self._tables}PRAGMA user_version = {self._version};COMMIT;"
                    )
            except BaseException:
                connection.close()
                raise
            self._connection, self._identity = connection, self._inode()
        return self._connection

    def _trust(self) -> None:
        """Make the file and its folder where they are missing; refuse those that somebody else may have made.

        Whoever can write into the folder could put a device, a pipe or a link in the file's place.
        """
        if self.path == MEMORY:
            return
        folder = Path(self.path).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder, stat.S_ISDIR, "folder")
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))
        _check(Path(self.path), stat.S_ISREG, "file")

    def _inode(self) -> tuple[int, int] | None:
        if self.path == MEMORY:
            return None
        try:
            found = Path(self.path).lstat()
        except FileNotFoundError:
            return (0, 0)
        return found.st_dev, found.st_ino

    def _discard(self) -> None:
        """Remove a damaged file, so that all begin with a new one."""
        self.close()
        if self.path != MEMORY:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def _check(path: Path, is_kind: Callable[[int], bool], kind: str) -> None:
    found = path.lstat()
    if not is_kind(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _WRITABLE_BY_OTHERS:
        raise ClusterUnavailableError(
            f"{path} is not used: it must be a regular {kind} of this process's user that nobody else can write to"
        )


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
