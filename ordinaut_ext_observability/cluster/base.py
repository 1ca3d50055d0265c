"""The contract of what the processes of one installation share: leases, documents and rows.

    lease      one holder at a time, until it expires: who evaluates alerts, who reads the database
    document   a name and some bytes with a version: the states of alerts, a checkpoint
    rows       queues whose rows are taken in order, each once, and expire: origins of work
    records    tables of facts, each under a key of its own: silences, notifications to send, what was sent

All that is written in one call is written together or not at all, so that a state and what follows from it never part:

    held = cluster.get("alerts")
    cluster.write([Put("alerts", held.version, new_states)], records=[Record("outbox", "4f1c", notification)])
    assert cluster.records("outbox") == [{"4f1c": notification}]

One suite tests every implementation: `tests/contract/test_cluster.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ordinaut_ext_observability.errors import ObservabilityError

QUEUE_ROWS = 10_000
"""Rows that a queue keeps; past it the oldest go. A queue that nobody empties must not fill the store."""


TABLE_RECORDS = 5_000
"""Records with a time that a table keeps; past it those go that end first. Others are their writer's care."""


class ClusterUnavailableError(ObservabilityError):
    """The store does not answer, or not within its time; the message says why and holds no secret."""


class ClusterBusyError(ClusterUnavailableError):
    """Another process has been writing for too long; what is there can be read."""


class Document(NamedTuple):
    """A document as it was read."""

    version: int
    """Counts the writes, from 1; 0 for a document that was never written."""
    content: bytes


class Put(NamedTuple):
    """A document to write."""

    name: str
    version: int
    """The version that was read: where another has been written since, nothing is written."""
    content: bytes


class Append(NamedTuple):
    """A row to put at the end of a queue."""

    queue: str
    content: bytes
    ttl_seconds: float
    """The row is not handed out after this time."""


class Record(NamedTuple):
    """A record to keep, in place of the one of its key."""

    table: str
    key: str
    content: bytes | None
    """None: the record of this key goes."""
    ttl_seconds: float | None = None
    """The record goes after this time; None: it stays."""


class Cluster(Protocol):
    """Calls come from one thread at a time and end within two seconds. All raise `ClusterUnavailableError`."""

    def hold_lease(self, name: str, owner: str, ttl_seconds: float) -> bool:
        """Take the lease, or keep it, for this long; False while another owner has it."""

    def release_lease(self, name: str, owner: str) -> None:
        """Give the lease up, where this owner has it."""

    def get(self, name: str) -> Document:
        """The document; version 0 and no content where there is none."""

    def write(self, documents: Sequence[Put] = (), rows: Sequence[Append] = (), records: Sequence[Record] = ()) -> bool:
        """Write all of it; False, and nothing written, where a document has another version.

        Where there are records, a file has all of it on the disk when this returns.
        """

    def records(self, *tables: str) -> list[dict[str, bytes]]:
        """The records of each of these tables, by key, as they are at one moment."""

    def take(self, queue: str, limit: int = 1) -> list[bytes]:
        """Remove and return the oldest rows that have not expired, at most `limit`."""

    def close(self) -> None:
        """Give back the connection. Safe more than once."""
