"""The contract of a relay store: the place through which processes hand each other what they counted.

A process publishes its whole vector of counts under a random incarnation id, once per interval. Time is cut into epochs
of one interval by the store's clock; a vector belongs to the epoch in which it was stored, and an epoch that has ended
never changes. So all readers that show the same epoch show the same sums.

The counts of incarnations that ended are in one retired total. `fold` moves an incarnation's last vector there in one
step: whoever reads sees either the vector or the total with it, never both and never neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ordinaut_ext_observability.errors import ObservabilityError

EPOCHS_BEHIND = 2
"""An epoch is shown when the one after it has ended too: by then every reader has had an interval to read it."""

EPOCHS_KEPT = 3
"""A store keeps of each incarnation the vectors of this many past epochs, and the newest one before them."""

SHARED = "0" * 32
"""The incarnation of counts that are no process's own: whoever leads publishes them, fenced; it is never folded."""


class StoreUnavailableError(ObservabilityError):
    """The relay store does not answer, or not within its time."""


class StoredVector(NamedTuple):
    """One publication of one incarnation."""

    incarnation: str
    """32 hex digits."""
    sequence: int
    """Counts the publications of the incarnation, from 1."""
    epoch: int
    """The interval in which it was stored: the store's clock divided by the interval, rounded down."""
    content: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """A vector was stored."""

    store: str
    """The store's identity, a random id that it lost if it lost anything."""
    now_seconds: float
    """The store's clock, seconds since 1970."""
    silent: int
    """Incarnations not heard of for twice the expiry: nobody folds them."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The incarnation was folded: its counts are in the retired total, up to and with `sequence`."""

    store: str
    now_seconds: float
    sequence: int | None
    """None where the store no longer knows."""


@dataclass(frozen=True, slots=True)
class Retired:
    """The retired total."""

    version: int
    """0 where nothing was ever folded; each fold adds one."""
    content: bytes
    folded: Mapping[str, int]
    """The incarnations folded lately, in that order, and the sequence of the vector that was."""


NOTHING_RETIRED = Retired(0, b"", {})


@dataclass(frozen=True, slots=True)
class Reading:
    """What a store holds."""

    store: str
    now_seconds: float
    seen_seconds: Mapping[str, float]
    """Of each incarnation not folded, when it published last, by the store's clock."""
    vectors: tuple[StoredVector, ...]
    """The vectors that the caller did not know, oldest first for each incarnation."""
    retired: Retired | None
    """None where the caller knows this version in this store."""


class RelayStore(Protocol):
    """Where vectors are kept. Calls come from one thread at a time, but for the two about queued work.

    Every call ends within a second or two, and raises `StoreUnavailableError` where the store does not answer.
    """

    name: str
    """What it is, for people: `redis` or `directory`."""

    interval_seconds: float

    def publish(
        self, incarnation: str, sequence: int, content: bytes, *, last_store: str, fenced: bool = False
    ) -> Published | Refused:
        """Store a vector in the current epoch, in place of another of this incarnation and epoch.

        With `fenced`, refused where the store has a vector of this or a higher sequence: of several writers, one wins.

        `last_store` is the identity of the store that took the incarnation's previous vector, or empty. Refused where
        the incarnation was folded: the retired total names it, or this same store took its vectors and no longer has
        them. An unknown incarnation that comes from another store, or from none, is taken.
        """

    def read(self, known_epochs: Mapping[str, int], *, store: str, retired_version: int) -> Reading:
        """What there is; of an incarnation in `known_epochs` only vectors of later epochs.

        If `store` is not this store's identity, everything is read. The reading is of one moment: no fold falls
        between the vectors and the retired total.
        """

    def fold(self, *, store: str, expected_version: int, retired: Retired, folding: Mapping[str, int]) -> bool:
        """Replace the retired total and remove the incarnations of `folding`, at once or not at all.

        False, and nothing done, where this is another store, its total has another version than the expected, or one
        of the incarnations is gone or has published since the sequence given.
        """

    def seed(self, *, store: str, retired: Retired, vectors: Iterable[StoredVector], seen: Mapping[str, float]) -> None:
        """Give a store that lost its contents what the caller still knows.

        The retired total is taken where its version is higher than the store's; vectors where the incarnation is not
        folded in the total the store then has, and the store has no vector of a higher sequence. Incarnations that
        total names as folded are removed. Nothing is done where `store` is not this store's identity.
        """

    def push_origin(self, task_id: str, content: bytes, *, ttl_seconds: float) -> None:
        """Note where a piece of queued work came from; the newest 100 of a task are kept, for `ttl_seconds`.

        Safe from any thread.
        """

    def pop_origin(self, task_id: str) -> bytes | None:
        """Take the oldest note of the task that has not expired; None where there is none. Safe from any thread."""

    def hold_lease(self, owner: str, ttl_seconds: float) -> bool:
        """Take the one lease there is, or keep it, for so long from now; False while another owner holds it."""

    def close(self) -> None:
        """Give back connections and files; the contents stay. Safe more than once."""
