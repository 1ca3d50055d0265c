"""One SQLite file that the processes of one user share, opened only where it can be trusted."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.background.fork import close_before_fork, forks_held_off, was_forked_too_early
from ordinaut_ext_observability.cluster.base import ClusterBusyError, ClusterUnavailableError

MEMORY = ":memory:"
"""The path of a store that is this process's alone and ends with it."""

_BUSY_SECONDS = 0.5
"""Longest wait for another writer. A write takes milliseconds: who holds the file longer was stopped in the middle."""

_POLL_SECONDS = 0.005
"""How often a file is tried that another process writes to: about as long as a write takes."""

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class SqliteFile:
    """A connection, made at the first transaction and again where the file was deleted, replaced or damaged."""

    def __init__(self, path: str, tables: str) -> None:
        """`tables` are statements that make what is missing."""
        self.path = path
        self._tables = tables
        self._version = zlib.crc32(tables.encode()) >> 1
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        if path != MEMORY:
            # Of a file that is open SQLite notes which locks the process has: a child would believe in them, too.
            close_before_fork(self)

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Run a block in one transaction: all of it takes effect, or nothing where it raises.

        Raises `ClusterUnavailableError` where the file cannot be opened, is not trusted, is damaged or busy.
        """
        if was_forked_too_early():
            raise ClusterUnavailableError(f"{self.path}: this process was forked while the file was in use")
        ends_at = monotonic_seconds() + _BUSY_SECONDS
        try:
            while True:
                with forks_held_off():
                    connection = self._begin(write=write, ends_at=ends_at)
                    if connection is not None:
                        try:
                            yield connection
                            connection.execute("COMMIT")
                        finally:
                            if connection.in_transaction:
                                connection.execute("ROLLBACK")
                        return
                # Waited for here rather than in SQLite, so that a fork need not wait for another process.
                time.sleep(_POLL_SECONDS)
        except sqlite3.OperationalError as error:
            raise (ClusterBusyError if _is_busy(error) else ClusterUnavailableError)(f"{self.path}: {error}") from None
        except sqlite3.DatabaseError as error:
            self._discard()
            raise ClusterUnavailableError(f"{self.path}: {error}; it begins anew") from None
        except OSError as error:
            raise ClusterUnavailableError(f"{self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the connection; the next transaction opens another."""
        with forks_held_off():
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _begin(self, *, write: bool, ends_at: float) -> sqlite3.Connection | None:
        """A connection with a transaction; None while another process writes, before this time."""
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # what is read is of this moment
        except sqlite3.OperationalError as error:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if not _is_busy(error) or monotonic_seconds() >= ends_at:
                raise
            return None
        return connection

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
