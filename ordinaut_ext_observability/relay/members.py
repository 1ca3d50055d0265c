"""What is known of all processes: their vectors, epoch by epoch, and the total of those that ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.relay.base import (
    EPOCHS_KEPT,
    NOTHING_RETIRED,
    SHARED,
    Reading,
    RelayStore,
    Retired,
    StoredVector,
)
from ordinaut_ext_observability.relay.totals import Totals
from ordinaut_ext_observability.relay.vector import (
    NO_NUMBERS,
    About,
    Numbers,
    Vector,
    VectorError,
    decode,
    decode_values,
    encode,
    encode_values,
)

EXPIRY_INTERVALS = 30
"""A process that has not published for so many intervals is folded."""

GAUGE_INTERVALS = 2
"""A process that has not published for so many intervals has no gauges any more."""

NO_EPOCH = -1

_OWN = About(serves=True, ended=False, process=0)
_FOLDED_AT_ONCE = 200
_FOLDED_REMEMBERED = 2000


@dataclass(slots=True)
class Member:
    """One incarnation."""

    seen_seconds: float
    """When it published last, by the store's clock."""
    vectors: list[tuple[StoredVector, Vector]] = field(default_factory=list)
    """The latest, in their order; the first is of an epoch shown already."""

    @property
    def latest(self) -> Vector | None:
        return self.vectors[-1][1] if self.vectors else None


class Members:
    """The incarnations of a store and its retired total."""

    def __init__(
        self, interval_seconds: float, budgets: LabelBudgets, on_unreadable: Callable[[], None] = lambda: None
    ) -> None:
        """`on_unreadable` is told of each vector that cannot be read."""
        self._interval_seconds = interval_seconds
        self._budgets = budgets
        self._on_unreadable = on_unreadable
        self._members: dict[str, Member] = {}
        self._retired = NOTHING_RETIRED
        self._retired_numbers = NO_NUMBERS
        self._store = ""
        self.now_seconds = 0.0
        """The store's clock at the last reading."""

    def __len__(self) -> int:
        return len(self._members.keys() - {SHARED})

    def update(self, store: RelayStore) -> None:
        """Read what is new. A store that lost its contents is given what is known here first.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        known = {name: member.latest.epoch for name, member in self._members.items() if member.latest is not None}
        reading = store.read(known, store=self._store, retired_version=self._retired.version)
        if reading.now_seconds < self.now_seconds - self._interval_seconds:
            # The store's clock was set back: what is known here by its epochs is of a time to come.
            self._members, self._store = {}, ""
            reading = store.read({}, store="", retired_version=0)
        if reading.store != self._store and self._store:
            store.seed(
                store=reading.store,
                retired=self._retired,
                vectors=[stored for member in self._members.values() for stored, _ in member.vectors],
                seen={name: member.seen_seconds for name, member in self._members.items()},
            )
            reading = store.read({}, store="", retired_version=0)
        self._apply(reading)

    def as_of(self, epoch: int) -> list[Numbers]:
        """The counts of everybody when this epoch ended."""
        numbers = [self._retired_numbers]
        for member in self._members.values():
            of_epoch = [vector for _, vector in member.vectors if vector.epoch <= epoch]
            if of_epoch:
                numbers.append(of_epoch[-1].counts)
        return numbers

    def gauges(self, now_seconds: float, but: str) -> list[Numbers]:
        """The gauges of those that live, one excepted."""
        oldest = now_seconds - GAUGE_INTERVALS * self._interval_seconds
        return [
            member.latest.gauges
            for name, member in list(self._members.items())
            if name != but and member.seen_seconds >= oldest and member.latest and not member.latest.about.ended
        ]

    def others_serve(self, own: str) -> bool:
        """Whether another process shows the sums too, as far as is known."""
        oldest = self.now_seconds - EXPIRY_INTERVALS * self._interval_seconds
        return any(
            name not in (own, SHARED)
            and member.seen_seconds >= oldest
            and member.latest is not None
            and member.latest.about.serves
            and not member.latest.about.ended
            for name, member in self._members.items()
        )

    def note_own(self, name: str, sequence: int, counts: Numbers, epoch: int) -> None:
        """What this process counted and no store has taken; with `NO_EPOCH`, it stands for all that came before."""
        vector = Vector(sequence, epoch, _OWN, counts, NO_NUMBERS)
        member = self._members.setdefault(name, Member(self.now_seconds))
        stored = StoredVector(name, sequence, epoch, encode(_OWN, counts, NO_NUMBERS))
        latest = member.latest
        if epoch == NO_EPOCH:
            member.vectors = [(stored, vector)]
        elif latest is not None and latest.epoch >= epoch:
            member.vectors[-1] = (stored, vector._replace(epoch=latest.epoch))
        else:
            member.vectors.append((stored, vector))
        self._drop_old(member, epoch)

    def note_shared(self, counts: Numbers, epoch: int) -> None:
        """What this process counted for all, and no store has taken. It keeps the sequence of what was stored last."""
        latest = self._members[SHARED].latest if SHARED in self._members else None
        self.note_own(SHARED, latest.sequence if latest is not None else 0, counts, epoch)

    def fold(self, store: RelayStore, own: str) -> int:
        """Move those that ended into the retired total; how many. Of several that try, one does it.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        folding = self._ended(own)
        if not folding:
            return 0
        totals = Totals(self._budgets)
        totals.add(self._retired_numbers)
        for vector in folding.values():
            try:
                totals.add(vector.counts)
            except VectorError:
                self._on_unreadable()
        folded = {**self._retired.folded, **{name: vector.sequence for name, vector in folding.items()}}
        numbers = totals.numbers()
        content = numbers.layout + b"\n" + encode_values(numbers.values)
        done = store.fold(
            store=self._store,
            expected_version=self._retired.version,
            retired=Retired(self._retired.version + 1, content, dict(list(folded.items())[-_FOLDED_REMEMBERED:])),
            folding={name: vector.sequence for name, vector in folding.items()},
        )
        return len(folding) if done else 0

    def _ended(self, own: str) -> dict[str, Vector]:
        """Those that ended, or have not been heard of for long; not before all readers show their last vector."""
        now, interval = self.now_seconds, self._interval_seconds
        ended: dict[str, Vector] = {}
        for name, member in self._members.items():
            latest = member.latest
            if name in (own, SHARED) or latest is None:
                continue
            silent_intervals = (now - member.seen_seconds) / interval
            if silent_intervals > (EPOCHS_KEPT + 1 if latest.about.ended else EXPIRY_INTERVALS):
                ended[name] = latest
                if len(ended) == _FOLDED_AT_ONCE:
                    break
        return ended

    def _apply(self, reading: Reading) -> None:
        if reading.store != self._store:
            self._members = {}
        retired_numbers = self._retired_numbers
        if reading.retired is not None:
            retired_numbers = self._decode_retired(reading.retired)
        members = {
            name: self._members.get(name) or Member(seen_seconds) for name, seen_seconds in reading.seen_seconds.items()
        }
        for name, seen_seconds in reading.seen_seconds.items():
            members[name].seen_seconds = seen_seconds
        for stored in reading.vectors:
            member = members.get(stored.incarnation)
            if member is not None:
                self._add(member, stored)
        epoch = int(reading.now_seconds / self._interval_seconds)
        for member in members.values():
            self._drop_old(member, epoch)
        # Assigned at the end and one after the other to no harm: one thread reads stores, others only read gauges.
        self._store, self.now_seconds = reading.store, reading.now_seconds
        if reading.retired is not None:
            self._retired, self._retired_numbers = reading.retired, retired_numbers
        self._members = members

    def _add(self, member: Member, stored: StoredVector) -> None:
        latest = member.latest
        if latest is not None and stored.sequence <= latest.sequence:
            return
        try:
            vector = decode(stored.content, stored.sequence, stored.epoch, like=latest)
        except VectorError:
            self._on_unreadable()
            return
        if member.vectors and latest is not None and latest.epoch >= stored.epoch:
            # The store's clock went back, or the vector was noted here before the store had it.
            member.vectors[-1] = (stored, vector._replace(epoch=latest.epoch))
        else:
            member.vectors.append((stored, vector))

    def _drop_old(self, member: Member, epoch: int) -> None:
        """Keep the newest vector of an epoch that all readers have shown, and those after it."""
        while len(member.vectors) > 1 and member.vectors[1][1].epoch <= epoch - EPOCHS_KEPT:
            member.vectors.pop(0)

    def _decode_retired(self, retired: Retired) -> Numbers:
        if not retired.content:
            return NO_NUMBERS
        layout, _, values = retired.content.partition(b"\n")
        try:
            numbers = Numbers(layout, decode_values(values))
        except VectorError:
            self._on_unreadable()
            return NO_NUMBERS
        return numbers
