"""A cluster in one SQLite file, for processes of one user on one machine; in memory for one process."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import QUEUE_ROWS, Append, Document, Put
from ordinaut_ext_observability.cluster.sqlite_file import SqliteFile

_TABLES = """
CREATE TABLE IF NOT EXISTS leases (
    name BLOB PRIMARY KEY, owner TEXT NOT NULL, taken REAL NOT NULL, until REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS documents (name BLOB PRIMARY KEY, version INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    position INTEGER PRIMARY KEY, queue BLOB NOT NULL, until REAL NOT NULL, content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS rows_by_queue ON rows (queue, position);
"""


class SqliteCluster:
    """Leases, documents and rows as tables. Instants are seconds since 1970, by this machine's clock."""

    tables = _TABLES

    def __init__(self, path: str, clock: Clock) -> None:
        """`path` names the file, or is `MEMORY`. Opens it at the first call."""
        self._file = SqliteFile(path, self.tables)
        self._clock = clock

    def hold_lease(self, name: str, owner: str, ttl_seconds: float) -> bool:
        with self._file.transaction(write=True) as db:
            now = self._clock.wall()
            # A lease that was taken in the future is of before the clock was set back: it would never end.
            taken = db.execute(
                "INSERT INTO leases VALUES (:name, :owner, :now, :until) ON CONFLICT DO UPDATE SET"
                " owner = :owner, taken = :now, until = :until WHERE owner = :owner OR until <= :now OR taken > :now",
                {"name": _key(name), "owner": owner, "now": now, "until": now + ttl_seconds},
            )
            return taken.rowcount > 0

    def release_lease(self, name: str, owner: str) -> None:
        with self._file.transaction(write=True) as db:
            db.execute("DELETE FROM leases WHERE name = ? AND owner = ?", (_key(name), owner))

    def get(self, name: str) -> Document:
        with self._file.transaction() as db:
            return _document(db, name)

    def write(self, documents: Sequence[Put] = (), rows: Sequence[Append] = ()) -> bool:
        with self._file.transaction(write=True) as db:
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
            return True

    def take(self, queue: str, limit: int = 1) -> list[bytes]:
        with self._file.transaction(write=True) as db:
            db.execute("DELETE FROM rows WHERE until <= ?", (self._clock.wall(),))
            found = db.execute(
                "SELECT position, content FROM rows WHERE queue = ? ORDER BY position LIMIT ?", (_key(queue), limit)
            ).fetchall()
            db.executemany("DELETE FROM rows WHERE position = ?", [(position,) for position, _ in found])
            return [bytes(content) for _, content in found]

    def close(self) -> None:
        self._file.close()


def put_documents(db: sqlite3.Connection, documents: Sequence[Put]) -> bool:
    """Write documents in a transaction that is open; False, and nothing written, where one has another version."""
    if any(_document(db, put.name).version != put.version for put in documents):
        return False
    db.executemany(
        "INSERT INTO documents VALUES (?, ? + 1, ?)"
        " ON CONFLICT DO UPDATE SET version = excluded.version, content = excluded.content",
        [(_key(put.name), put.version, put.content) for put in documents],
    )
    return True


def _document(db: sqlite3.Connection, name: str) -> Document:
    found = db.execute("SELECT version, content FROM documents WHERE name = ?", (_key(name),)).fetchone()
    return Document(found[0], bytes(found[1])) if found is not None else Document(0, b"")


def _key(name: str) -> bytes:
    """A name may hold anything, also what is not Unicode, and is not ours to refuse."""
    return name.encode(errors="backslashreplace")
