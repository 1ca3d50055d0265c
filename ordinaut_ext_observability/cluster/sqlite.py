"""A cluster in one SQLite file, for processes of one user on one machine; in memory for one process."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ordinaut_ext_observability.background.clock import Clock, monotonic_seconds
from ordinaut_ext_observability.background.fork import close_before_fork, forks_held_off, was_forked_too_early
from ordinaut_ext_observability.cluster.base import (
    QUEUE_ROWS,
    TABLE_RECORDS,
    Append,
    ClusterBusyError,
    ClusterUnavailableError,
    Document,
    Put,
    Record,
)

MEMORY = ":memory:"
"""The path of a store that is this process's alone and ends with it."""

_BUSY_SECONDS = 0.5
"""Longest wait for another writer. A write takes milliseconds: who holds the file longer was stopped in the middle."""

_POLL_SECONDS = 0.005
"""Time between two tries of a file that another process writes to: about as long as a write takes."""


class SqliteCluster:
    """Leases, documents, rows and records as tables. Instants are seconds since 1970, by this machine's clock."""

    tables = """
CREATE TABLE IF NOT EXISTS leases (name BLOB PRIMARY KEY, owner TEXT NOT NULL, taken REAL NOT NULL, until REAL);
CREATE TABLE IF NOT EXISTS documents (name BLOB PRIMARY KEY, version INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rows (position INTEGER PRIMARY KEY, queue BLOB NOT NULL, until REAL NOT NULL, content BLOB);
CREATE INDEX IF NOT EXISTS rows_by_queue ON rows (queue, position);
CREATE TABLE IF NOT EXISTS records (name BLOB, key BLOB, until REAL, content BLOB NOT NULL, PRIMARY KEY (name, key));
"""

    def __init__(self, path: str, clock: Clock) -> None:
        """`path` names the file, or is `MEMORY`. Opens it at the first call, and where it was deleted or replaced."""
        self.path = path
        self._clock = clock
        self._version = zlib.crc32(self.tables.encode()) >> 1
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        if path != MEMORY:
            # Of a file that is open SQLite notes which locks the process has: a child would believe in them, too.
            close_before_fork(self)

    def __del__(self) -> None:
        """Close what is in memory, which nobody else has: a process that ends asks for no more."""
        if self.path == MEMORY and self._connection is not None:
            self._connection.close()

    def hold_lease(self, name: str, owner: str, ttl_seconds: float) -> bool:
        with self.transaction(write=True) as db:
            now = self._clock.wall()
            # A lease that was taken in the future is of before the clock was set back: it would never end.
            taken = db.execute(
                "INSERT INTO leases VALUES (:name, :owner, :now, :until) ON CONFLICT DO UPDATE SET"
                " owner = :owner, taken = :now, until = :until WHERE owner = :owner OR until <= :now OR taken > :now",
                {"name": _key(name), "owner": owner, "now": now, "until": now + ttl_seconds},
            )
            return taken.rowcount > 0

    def release_lease(self, name: str, owner: str) -> None:
        with self.transaction(write=True) as db:
            db.execute("DELETE FROM leases WHERE name = ? AND owner = ?", (_key(name), owner))

    def get(self, name: str) -> Document:
        with self.transaction() as db:
            return read_document(db, name)

    def write(self, documents: Sequence[Put] = (), rows: Sequence[Append] = (), records: Sequence[Record] = ()) -> bool:
        with self.transaction(write=True, durable=bool(records)) as db:
            if not put_documents(db, documents):
                return False
            now = self._clock.wall()
            db.executemany(
                "INSERT INTO rows (queue, until, content) VALUES (?, ?, ?)",
                [(_key(row.queue), now + row.ttl_seconds, row.content) for row in rows],
            )
            db.executemany(
                "DELETE FROM rows WHERE queue = :queue AND position <="
                " (SELECT position FROM rows WHERE queue = :queue ORDER BY position DESC LIMIT 1 OFFSET :kept)",
                [{"queue": _key(queue), "kept": QUEUE_ROWS} for queue in {row.queue for row in rows}],
            )
            _put_records(db, records, now)
            return True

    def records(self, *tables: str) -> list[dict[str, bytes]]:
        select = "SELECT key, content FROM records WHERE name = ? AND (until IS NULL OR until > ?)"
        with self.transaction() as db:
            found = [db.execute(select, (_key(table), self._clock.wall())).fetchall() for table in tables]
        return [{key.decode(): bytes(content) for key, content in rows} for rows in found]

    def take(self, queue: str, limit: int = 1) -> list[bytes]:
        with self.transaction(write=True) as db:
            db.execute("DELETE FROM rows WHERE until <= ?", (self._clock.wall(),))
            found = db.execute(
                "SELECT position, content FROM rows WHERE queue = ? ORDER BY position LIMIT ?", (_key(queue), limit)
            ).fetchall()
            db.executemany("DELETE FROM rows WHERE position = ?", [(position,) for position, _ in found])
            return [bytes(content) for _, content in found]

    @contextmanager
    def transaction(self, *, write: bool = False, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Run a block in one transaction: all of it takes effect, or nothing where it raises.

        What is `durable` outlives the machine's failure, not only the process's: the disk is waited for.
        Raises `ClusterUnavailableError` where the file cannot be opened, is not trusted, is damaged or busy.
        """
        if was_forked_too_early():
            raise ClusterUnavailableError(f"{self.path}: this process was forked while the file was in use")
        ends_at = monotonic_seconds() + _BUSY_SECONDS
        try:
            while True:
                with forks_held_off():
                    connection = self._begin(write=write, durable=durable, ends_at=ends_at)
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
            self._connection = self._identity = None

    def _begin(self, *, write: bool, durable: bool, ends_at: float) -> sqlite3.Connection | None:
        """A connection with a transaction; None while another process writes, before this time."""
        try:
            connection = self._open()
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
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
            if self.path != MEMORY:
                self._trust()
            self._connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            ((made_by,),) = self._connection.execute("PRAGMA user_version")
            if made_by != self._version:  # else nothing is written: a file that is held can be read
                script = f"BEGIN IMMEDIATE;{self.tables}PRAGMA user_version = {self._version};COMMIT;"
                self._connection.executescript(script)
            self._identity = self._inode()
        return self._connection

    def _trust(self) -> None:
        """Make the file and its folder where they are missing; refuse those that somebody else may have made.

        Whoever can write into the folder could put a device, a pipe or a link in the file's place.
        """
        folder = Path(self.path).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder, stat.S_ISDIR, "folder")
        # A file that is there is not opened: to close it would give up the locks of this process's other connections
        # (POSIX). Whoever ends then as the last would take the newest writes away from those.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        _check(Path(self.path), stat.S_ISREG, "file")

    def _inode(self) -> tuple[int, int] | None:
        with suppress(FileNotFoundError):
            found = Path(self.path).lstat()
            return found.st_dev, found.st_ino
        return None

    def _discard(self) -> None:
        """Remove a damaged file, so that all begin with a new one."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def put_documents(db: sqlite3.Connection, documents: Sequence[Put]) -> bool:
    """Write documents in a transaction that is open; False, and nothing written, where one has another version."""
    if any(read_document(db, put.name).version != put.version for put in documents):
        return False
    db.executemany(
        "INSERT INTO documents VALUES (?, ? + 1, ?)"
        " ON CONFLICT DO UPDATE SET version = excluded.version, content = excluded.content",
        [(_key(put.name), put.version, put.content) for put in documents],
    )
    return True


def _put_records(db: sqlite3.Connection, records: Sequence[Record], now: float) -> None:
    for name, key, content, ttl_seconds in records:
        if content is None:
            db.execute("DELETE FROM records WHERE name = ? AND key = ?", (_key(name), _key(key)))
        else:
            until = None if ttl_seconds is None else now + ttl_seconds
            db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (_key(name), _key(key), until, content))
    for name in {record.table for record in records}:
        db.execute("DELETE FROM records WHERE name = ? AND until <= ?", (_key(name), now))
        db.execute(
            "DELETE FROM records WHERE name = :name AND until <= (SELECT until FROM records"
            " WHERE name = :name AND until IS NOT NULL ORDER BY until DESC LIMIT 1 OFFSET :kept)",
            {"name": _key(name), "kept": TABLE_RECORDS},
        )


def read_document(db: sqlite3.Connection, name: str) -> Document:
    """The document, in a transaction that is open."""
    found = db.execute("SELECT version, content FROM documents WHERE name = ?", (_key(name),)).fetchone()
    return Document(found[0], bytes(found[1])) if found is not None else Document(0, b"")


def _key(name: str) -> bytes:
    """A name may hold anything, also what is not Unicode, and is not ours to refuse."""
    return name.encode(errors="backslashreplace")


def _check(path: Path, is_kind: Callable[[int], bool], kind: str) -> None:
    found = path.lstat()
    if not is_kind(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ClusterUnavailableError(
            f"{path} is not used: it must be a regular {kind} of this process's user that nobody else can write to"
        )


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
