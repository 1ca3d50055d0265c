"""One SQLite file that the processes of one user share, opened only where it can be trusted."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ordinaut_ext_observability.cluster.base import ClusterBusyError, ClusterUnavailableError

MEMORY = ":memory:"
"""The path of a store that is this process's alone and ends with it."""

_BUSY_SECONDS = 0.5
"""Longest wait for another writer. A write takes milliseconds: who holds the file longer was stopped in the middle."""

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


_in_use = threading.RLock()
"""Held while SQLite runs. It has locks of its own that a forked child would inherit, held for ever by a thread that
it has not: so a fork waits until no thread is inside."""

_FORK_WAIT_SECONDS = 2.0
"""Longest time that a fork waits: more than a call may take."""


def _before_fork() -> None:
    _in_use.acquire(timeout=_FORK_WAIT_SECONDS)


def _after_fork() -> None:
    with suppress(RuntimeError):  # it was not free in time
        _in_use.release()


def _in_child() -> None:
    global _in_use  # noqa: PLW0603 - the lock of the parent may be held by a thread that is not here
    _in_use = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


class SqliteFile:
    """A connection, made at the first transaction and again where the file was deleted, replaced or damaged."""

    def __init__(self, path: str, tables: str) -> None:
        """`tables` are statements that make what is missing; they run whenever the file is opened."""
        self.path = path
        self._tables = tables
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Run a block in one transaction: all of it takes effect, or nothing where it raises.

        Raises:
            ClusterUnavailableError: the file cannot be opened, is not trusted, is damaged or busy.
        """
        try:
            with _in_use:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            raise (ClusterBusyError if busy else ClusterUnavailableError)(f"{self.path}: {error}") from None
        except sqlite3.DatabaseError as error:
            self._discard()
            raise ClusterUnavailableError(f"{self.path}: {error}; it begins anew") from None
        except OSError as error:
            raise ClusterUnavailableError(f"{self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the connection; the next transaction opens another."""
        if self._connection is not None:
            with _in_use:
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode() != self._identity:
            self.close()
        if self._connection is None:
            self._trust()
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                # What is lost with the machine is lost with its processes: nobody waits for the disk.
                connection.execute("PRAGMA synchronous = OFF")
                connection.executescript(f"BEGIN IMMEDIATE;{self._tables}COMMIT;")
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
        self._check(folder, stat.S_ISDIR, "folder")
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))
        self._check(Path(self.path), stat.S_ISREG, "file")

    def _check(self, path: Path, is_kind: object, kind: str) -> None:
        found = path.lstat()
        trusted = is_kind(found.st_mode) and found.st_uid == os.geteuid()  # type: ignore[operator]
        if not trusted or found.st_mode & _WRITABLE_BY_OTHERS:
            raise ClusterUnavailableError(
                f"{path} is not used: it must be a regular {kind} of this process's user that nobody else can write to"
            )

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
