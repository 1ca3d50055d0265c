"""A relay store in one SQLite file, for processes of one user on one machine; in memory for one process."""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Sequence

from ordinaut_ext_observability.cluster.sqlite import SqliteCluster, put_documents, read_document
from ordinaut_ext_observability.relay.store import (
    LARGEST_NUMBER,
    REMEMBERED_SECONDS,
    WATCHED,
    Entry,
    Outcome,
    Publication,
    Reading,
)

_IDLE_SECONDS = 60.0
"""A total that no process has used for so long begins anew: all have ended, and with them what they counted."""

_ADD = f"""
INSERT INTO relay_total VALUES (:place, :delta) ON CONFLICT DO UPDATE SET number =
    CASE WHEN number > {LARGEST_NUMBER} - :delta AND :delta > 0 THEN {LARGEST_NUMBER} ELSE number + :delta END
"""  # noqa: S608 - a number of ours


class SqliteRelayStore(SqliteCluster):
    """The parts as tables. Instants are seconds of the machine's steady clock, which all its processes share.

    So nobody is taken for ended, or for living, when the time is set. An instant later than now is of before the
    machine started.
    """

    name = "file"
    watched_version = 0
    tables = f"""{SqliteCluster.tables}
CREATE TABLE IF NOT EXISTS relay_state (identity TEXT NOT NULL, touched REAL NOT NULL);
CREATE TABLE IF NOT EXISTS relay_series (position INTEGER PRIMARY KEY, line BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS relay_total (place INTEGER PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS relay_publishers (publisher TEXT PRIMARY KEY, sequence INTEGER NOT NULL, seen REAL NOT NULL);
CREATE TABLE IF NOT EXISTS relay_entries (publisher TEXT PRIMARY KEY, said REAL, until REAL, content BLOB NOT NULL);
INSERT INTO relay_state SELECT lower(hex(randomblob(16))), 0 WHERE NOT EXISTS (SELECT 1 FROM relay_state);
"""  # noqa: S608 - text of ours

    def join(self, publisher: str) -> str:
        with self.transaction(write=True) as db:
            now = self._clock.monotonic()
            db.execute("DELETE FROM relay_publishers WHERE NOT seen BETWEEN ? AND ?", (now - REMEMBERED_SECONDS, now))
            db.execute("DELETE FROM relay_entries WHERE NOT ? BETWEEN said AND until", (now,))
            ((touched, living),) = db.execute("SELECT touched, (SELECT count(*) FROM relay_entries) FROM relay_state")
            if not living and not 0 <= now - touched <= _IDLE_SECONDS:
                for table in ("relay_series", "relay_total", "relay_publishers"):
                    db.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
                db.execute("UPDATE relay_state SET identity = ?", (os.urandom(16).hex(),))
            db.execute("INSERT OR IGNORE INTO relay_publishers VALUES (?, 0, ?)", (publisher, now))
            return self._touch(db, now)

    def append(self, store: str, expected: int, series: Sequence[bytes]) -> bool:
        with self.transaction(write=True) as db:
            ((count,),) = db.execute("SELECT count(*) FROM relay_series")
            if self._touch(db, self._clock.monotonic()) != store or count != expected:
                return False
            db.executemany("INSERT INTO relay_series VALUES (?, ?)", enumerate(series, expected))
            return True

    def publish(self, store: str, publication: Publication) -> Outcome:
        publisher, sequence, deltas, put, said = publication
        with self.transaction(write=True) as db:
            now = self._clock.monotonic()
            if self._touch(db, now) != store:
                return Outcome.REPLACED
            held = db.execute("SELECT sequence FROM relay_publishers WHERE publisher = ?", (publisher,)).fetchone()
            if held is None or sequence > held[0] + 1:
                return Outcome.FORGOTTEN
            self.watched_version = read_document(db, WATCHED).version
            if sequence <= held[0]:
                return Outcome.ADDED
            if put is not None and not put_documents(db, [put]):
                return Outcome.OUTDATED
            db.executemany(_ADD, [{"place": place, "delta": delta} for place, delta in deltas.items()])
            db.execute(
                "UPDATE relay_publishers SET sequence = ?, seen = ? WHERE publisher = ?", (sequence, now, publisher)
            )
            if said is not None:
                entry = (publisher, now, now + said[1], said[0])
                db.execute("INSERT OR REPLACE INTO relay_entries VALUES (?, ?, ?, ?)", entry)
            return Outcome.ADDED

    def leave(self, store: str, publisher: str) -> None:
        with self.transaction(write=True) as db:
            if self._touch(db, self._clock.monotonic()) == store:
                db.execute("DELETE FROM relay_entries WHERE publisher = ?", (publisher,))
                db.execute("DELETE FROM relay_publishers WHERE publisher = ?", (publisher,))

    def read(self, store: str, known_series: int) -> Reading:
        with self.transaction() as db:
            ((identity,),) = db.execute("SELECT identity FROM relay_state")
            first = known_series if identity == store else 0
            lines = db.execute("SELECT line FROM relay_series WHERE position >= ? ORDER BY position", (first,))
            series = [bytes(line) for (line,) in lines]
            ((size,),) = db.execute("SELECT coalesce(max(place), -1) + 1 FROM relay_total")
            total = array("q", bytes(8 * size))
            for place, number in db.execute("SELECT place, number FROM relay_total"):
                total[place] = number
            now = self._clock.monotonic()
            said = db.execute(
                "SELECT publisher, ? - said, content FROM relay_entries WHERE ? BETWEEN said AND until", (now, now)
            )
            entries = [Entry(publisher, age, bytes(content)) for publisher, age, content in said]
            return Reading(identity, series, total, entries)

    def _touch(self, db: sqlite3.Connection, now: float) -> str:
        """The store's identity; and that the file is used, is noted."""
        ((identity,),) = db.execute("UPDATE relay_state SET touched = ? RETURNING identity", (now,))
        return str(identity)
