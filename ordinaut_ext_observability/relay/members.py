"""What is known of all processes: their vectors, epoch by epoch, and the total of those that ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ordinaut_ext_observability.clock import Clock
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
from ordinaut_ext_observability.relay.totals import NameOf, Totals, by_family
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

_OWN = About(serves=True, ended=False, process=0)
_EPOCHS_TO_AGREE = 3
_FOLDED_AT_ONCE = 200
_FOLDED_REMEMBERED = 2000

NO_EPOCH = -1
"""Before all epochs."""


@dataclass(slots=True)
class Member:
    """One incarnation."""

    seen_seconds: float
    """When it published last, by the store's clock."""
    vectors: list[tuple[StoredVector, Vector]] = field(default_factory=list)
    """The latest, in their order; the first is of an epoch shown already."""
    newest_sequence: int = 0
    newest_epoch: int = NO_EPOCH
    """Of what was stored last, readable or not."""

    @property
    def latest(self) -> Vector | None:
        return self.vectors[-1][1] if self.vectors else None


class Members:
    """The incarnations of a store and its retired total."""

    def __init__(
        self,
        interval_seconds: float,
        budgets: LabelBudgets,
        clock: Clock,
        on_unreadable: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_unreadable` is told of each vector that cannot be read."""
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._budgets = budgets
        self._on_unreadable = on_unreadable
        self._members: dict[str, Member] = {}
        self._retired = NOTHING_RETIRED
        self._retired_numbers = NO_NUMBERS
        self._store = ""
        self.now_seconds = 0.0
        """The store's clock at the last reading."""
        self.agreed_from_epoch = NO_EPOCH
        """After the store lost its contents: the first epoch of which all that read it know the same."""
        self.clock_offset = clock.wall() - clock.monotonic()
        """From this process's monotonic clock to the store's clock."""

    def __len__(self) -> int:
        return len(self._members.keys() - {SHARED})

    def update(self, store: RelayStore) -> None:
        """Read what is new. A store that lost its contents is given what is known here first.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        before = self._clock.monotonic()
        reading = store.read(self._known_epochs(), store=self._store, retired_version=self._retired.version)
        # In the middle of the call, as far as is known.
        self.clock_offset = reading.now_seconds - (before + self._clock.monotonic()) / 2
        if reading.store != self._store and self._store:
            # Others may know a later vector of the same epoch: what they seed is read in the next epochs.
            self.agreed_from_epoch = int(reading.now_seconds / self._interval_seconds) + _EPOCHS_TO_AGREE
            store.seed(
                store=reading.store,
                retired=self._retired,
                vectors=[stored for member in self._members.values() for stored, _ in member.vectors],
                seen={name: member.seen_seconds for name, member in self._members.items()},
            )
            reading = store.read({}, store="", retired_version=0)
        self._apply(reading)

    def _known_epochs(self) -> dict[str, int]:
        """Up to which epoch each incarnation's vectors are known; in the one that has not ended more may come."""
        if int(self.now_seconds / self._interval_seconds) < self.agreed_from_epoch:
            return {}
        ended = int(self.now_seconds / self._interval_seconds) - 1
        return {name: min(member.newest_epoch, ended) for name, member in self._members.items() if member.vectors}

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

    def any_counts(self, family_name: str, own: Numbers) -> bool:
        """Whether the family has a number that is not zero: among `own`, of another process, or retired."""
        members = [
            member.latest.counts for name, member in list(self._members.items()) if name != SHARED and member.latest
        ]
        return any(
            layout.name == family_name and any(map(any, rows))
            for numbers in (own, self._retired_numbers, *members)
            for layout, rows in by_family(numbers)
        )

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
        member.newest_sequence = max(member.newest_sequence, sequence)
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

    def fold(self, store: RelayStore, own: str, name_of: NameOf | None = None) -> int:
        """Move those that ended into the retired total; how many. Of several that try, one does it.

        Of one whose last vector cannot be read, the counts of the last that could. `name_of` gives the label values
        under which a series is shown, so that it keeps them.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        ended = self._ended(own)
        if not ended:
            return 0
        totals = Totals(self._budgets)
        totals.add(self._retired_numbers)
        for member in ended.values():
            if member.latest is not None:
                totals.add(member.latest.counts, name_of)
        folding = {name: member.newest_sequence for name, member in ended.items()}
        folded = {**self._retired.folded, **folding}
        numbers = totals.numbers()
        content = numbers.layout + b"\n" + encode_values(numbers.values)
        done = store.fold(
            store=self._store,
            expected_version=self._retired.version,
            retired=Retired(self._retired.version + 1, content, dict(list(folded.items())[-_FOLDED_REMEMBERED:])),
            folding=folding,
        )
        return len(folding) if done else 0

    def _ended(self, own: str) -> dict[str, Member]:
        """Those that ended, or have not been heard of for long; not before all readers show their last vector."""
        now, interval = self.now_seconds, self._interval_seconds
        ended: dict[str, Member] = {}
        for name, member in self._members.items():
            latest = member.latest
            if name in (own, SHARED) or not member.newest_sequence:
                continue
            silent_intervals = (now - member.seen_seconds) / interval
            in_order = latest is not None and latest.about.ended
            if silent_intervals > (EPOCHS_KEPT + 1 if in_order else EXPIRY_INTERVALS):
                ended[name] = member
                if len(ended) == _FOLDED_AT_ONCE:
                    break
        return ended

    def _apply(self, reading: Reading) -> None:
        if reading.now_seconds < self.now_seconds - self._interval_seconds:
            self._forget_epochs()
        retired_numbers = self._retired_numbers
        if reading.retired is not None:
            retired_numbers = self._decode_retired(reading.retired)
        members = {
            name: self._members.get(name) or Member(seen_seconds) for name, seen_seconds in reading.seen_seconds.items()
        }
        for name, seen_seconds in reading.seen_seconds.items():
            members[name].seen_seconds = seen_seconds
        epoch = int(reading.now_seconds / self._interval_seconds)
        for stored in reading.vectors:
            member = members.get(stored.incarnation)
            if member is not None:
                self._add(member, stored, epoch)
        for member in members.values():
            self._drop_old(member, epoch)
        # Assigned at the end and one after the other to no harm: one thread reads stores, others only read gauges.
        self._store, self.now_seconds = reading.store, reading.now_seconds
        if reading.retired is not None:
            self._retired, self._retired_numbers = reading.retired, retired_numbers
        self._members = members

    def _add(self, member: Member, stored: StoredVector, current_epoch: int) -> None:
        if stored.sequence <= member.newest_sequence:
            return
        member.newest_sequence, member.newest_epoch = stored.sequence, stored.epoch
        latest = member.latest
        try:
            vector = decode(stored.content, stored.sequence, stored.epoch, like=latest)
        except VectorError:
            self._on_unreadable()
            return
        # One of a time to come is from before the store's clock was set back.
        epoch = stored.epoch if stored.epoch <= current_epoch else NO_EPOCH
        if latest is not None and latest.epoch >= epoch:
            # Published again in the same epoch; or noted here before the store had it.
            epoch = latest.epoch if latest.epoch <= current_epoch else epoch
            member.vectors[-1] = (stored, vector._replace(epoch=epoch))
        else:
            member.vectors.append((stored, vector._replace(epoch=epoch)))

    def _forget_epochs(self) -> None:
        """The store's clock was set back: what is known is of a time to come, and stands for all that was."""
        for member in self._members.values():
            member.newest_epoch = NO_EPOCH
            if member.vectors:
                stored, vector = member.vectors[-1]
                member.vectors = [(stored, vector._replace(epoch=NO_EPOCH))]

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
