"""The contract of a relay store: one total, to which every process adds what it counted since it last did.

    publisher    a process, under a random id; its publications are numbered, and each is added once
    deltas       what a publication adds, by place in the total
    total        the numbers of all series, one after the other; it only grows
    series list  the series that the numbers belong to, in the order of their places; it only grows
    entry        what a living process says of this moment (its gauges); it expires

A store knows neither what a series is nor what its numbers mean: `series_list` does. A publisher that heard no answer
sends the same publication again, and the store adds it at most once:

    identity = store.join("4f1c")
    store.append(identity, expected=0, series=[b"requests"])
    publication = Publication("4f1c", sequence=1, deltas={0: 3})
    assert store.publish(identity, publication) is store.publish(identity, publication) is Outcome.ADDED
    assert store.read(identity, 0).total[0] == 3

A store that lost anything has another identity and begins at zero, as a counter does that was reset. One suite tests
every implementation: `tests/contract/test_relay_store.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from ordinaut_ext_observability.cluster.base import Cluster, Put

REMEMBERED_SECONDS = 86_400.0
"""A publisher not heard of for a day is forgotten; what it added stays. A process is hardly stopped for longer."""

WATCHED = "log_levels"
"""The document whose version is read with each publication: whoever publishes sees that it was written."""

LARGEST_NUMBER = 2**63 - 1
"""A number in the total stays there: it has 64 bits."""


class Outcome(Enum):
    """The fate of a publication."""

    ADDED = "added"
    """It is in the total: now, or since an earlier try."""
    OUTDATED = "outdated"
    """Its document has another version: somebody else has written it since. Nothing was added."""
    FORGOTTEN = "forgotten"
    """The publisher is not known: it never joined, or was silent for `REMEMBERED_SECONDS`. Nothing was added."""
    REPLACED = "replaced"
    """This is another store, or the same without its contents. Nothing was added."""


OwnEntry = tuple[bytes, float]
"""The entry of a process, and the seconds after which it ends."""


class Publication(NamedTuple):
    """Everything that a publisher adds in one step."""

    publisher: str
    sequence: int
    """Counts the publications of the publisher, from 1."""
    deltas: Mapping[int, int]
    """By the place of a number in the total, what to add."""
    put: Put | None = None
    """A document of the cluster to write with it: both or neither."""
    said: OwnEntry | None = None
    """The content of the publisher's entry from now on, and for how many seconds."""


class Entry(NamedTuple):
    """The words of a living process about this moment."""

    publisher: str
    age_seconds: float
    """Seconds since it said so."""
    content: bytes


class Reading(NamedTuple):
    """One moment of a store."""

    store: str
    """Its identity."""
    series: Sequence[bytes]
    """Those after the ones that the caller knows; all, where the caller knows another store."""
    total: array[int]
    """64-bit numbers. It may be shorter than the series need: missing numbers are zero."""
    entries: Sequence[Entry]


class RelayStore(Cluster, Protocol):
    """A cluster that keeps the total, too. Calls are as those of `Cluster`."""

    name: str
    """Name for people: `redis` or `file`."""
    watched_version: int
    """Version of `WATCHED` when the last publication was added; 0 before one was."""

    def join(self, publisher: str) -> str:
        """Make the publisher known, with no publication yet; the store's identity."""

    def append(self, store: str, expected: int, series: Sequence[bytes]) -> bool:
        """Add series at the end; False where there are not `expected` ones, or this is another store."""

    def publish(self, store: str, publication: Publication) -> Outcome:
        """Add the deltas, and keep the entry, unless that was done before."""

    def leave(self, store: str, publisher: str) -> None:
        """Remove the publisher, which ends, and what it said."""

    def read(self, store: str, known_series: int) -> Reading:
        """Read what there is now. `store` and `known_series` are what the caller has read before."""
