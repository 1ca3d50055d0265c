"""The relay of one process: a thread that publishes what the process counted and, where it serves, reads the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ordinaut_ext_observability.chance import spread
from ordinaut_ext_observability.clock import Clock
from ordinaut_ext_observability.daemon_threads import join_until
from ordinaut_ext_observability.fork import forget_after_fork
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.base import RelayStore, StoreUnavailableError
from ordinaut_ext_observability.relay.incarnation import Incarnation
from ordinaut_ext_observability.relay.members import EXPIRY_INTERVALS, NO_EPOCH, Members
from ordinaut_ext_observability.relay.origin_desk import OriginDesk
from ordinaut_ext_observability.relay.origins import Origin
from ordinaut_ext_observability.relay.shown import ShownSums
from ordinaut_ext_observability.relay.vector import NumberReader, gauge_values

_TICKS_PER_INTERVAL = 2


class Relay:
    """Publishes this process's counts and shows everybody's.

    Only what is in the store is shown, as of an epoch that every reader has read: sums never go back when one process
    is asked now and another then, nor when one is killed. While the store does not answer, a process that shows the
    sums alone goes on with its own counts; of several, each leaves the counts out.
    """

    def __init__(
        self,
        stores: Sequence[Callable[[], RelayStore]],
        metrics: Metrics,
        clock: Clock,
        *,
        serves: Callable[[], bool],
        interval_seconds: float,
        event: Callable[..., None],
        further: Registry | None = None,
        shared: Callable[[], Sequence[AnyFamily]] = tuple,
    ) -> None:
        """Of `stores` the first that answers is taken; where none does, the last is asked again and again.

        Published is what `metrics` and the `further` registry hold, but for the `shared` families: what they count
        belongs to no process, others publish it (`relay.shared`), and here it is only shown.
        """
        self._factories = stores
        self._metrics = metrics
        self._clock = clock
        self._serves = serves
        self._interval_seconds = interval_seconds
        self._event = event
        self._own_registry = metrics.registry
        self._registries = (metrics.registry, further or Registry())
        self._shared = shared
        self._incarnation = Incarnation(self._own_families, serves)
        self._shared_counts = NumberReader(shared)
        self._reset()
        forget_after_fork(self)

    def _reset(self) -> None:
        self._store: RelayStore | None = None
        self._make_store: Callable[[], RelayStore] | None = None
        self._folded_for_others_at = self._clock.monotonic()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._desk = OriginDesk(
            self._clock, self._wake.set, lambda: self._metrics.relay_failures.labels("origin").inc()
        )
        self._members = self._make_members()
        self._sums = ShownSums(
            self._registries,
            lambda: self._incarnation.id,
            self._store_now,
            self._interval_seconds,
        )
        self._answered_at: float | None = None
        self._published_at: float | None = None
        self._failing = False
        self.settled = threading.Event()
        """Set once the store was read, or did not answer: from then on there is something to show."""

    def _make_members(self) -> Members:
        return Members(
            self._interval_seconds,
            self._metrics.label_budgets,
            self._clock,
            lambda: self._metrics.count_internal_error("relay"),
        )

    def forget(self) -> None:
        """In a forked child: no thread, no connection, and counts that begin at zero."""
        self._reset()
        self._incarnation.forked()

    @property
    def started(self) -> bool:
        """Whether it runs."""
        return self._thread is not None

    @property
    def store_name(self) -> str | None:
        """What the counts go through, or None before a store was found."""
        return self._store.name if self._store is not None else None

    @property
    def process_count(self) -> int:
        """Processes whose counts are not in the retired total, this one included."""
        return len(self._members)

    def age_seconds(self) -> float | None:
        """How long ago the store answered last; None if it never did."""
        return None if self._answered_at is None else self._clock.monotonic() - self._answered_at

    def start(self) -> None:
        """Begin publishing. Starting again does nothing."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="observability-relay", daemon=True)
            self._thread.start()

    def begin_stop(self) -> None:
        """Have the thread publish a last time and end. Safe without `start`, and more than once."""
        self._stopping = True
        self._wake.set()

    def stop(self, ends_at: float | None = None) -> None:
        """End until then, on `monotonic_seconds`, with a last publication where the store answers by then."""
        self.begin_stop()
        if self._thread is not None:
            join_until(self._thread, ends_at)
        self._thread = None

    def shown(self) -> Registry:
        """The registry to show now: the sums, or the process's own where there are none."""
        registry = self._sums.registry(alone=not self._members.others_serve(self._incarnation.id))
        return registry if registry is not None else self._own_registry

    def gauges(self) -> list[dict[tuple[str, tuple[str, ...]], float]]:
        """The gauges that each process published within the last two intervals, this one included."""
        return [gauge_values(numbers) for numbers in self._members.gauges(self._store_now(), but="")]

    def push_origin(self, task_id: str, origin: Origin) -> None:
        """Send where a piece of work comes from; returns at once, the thread does it."""
        if self._thread is not None:
            self._desk.push(task_id, origin)

    def pop_origin(self, task_id: str) -> Origin | None:
        """Where the oldest piece of work of this task comes from, within a tenth of a second; None if not known."""
        return self._desk.pop(task_id) if self._thread is not None and self._store is not None else None

    def any_process_counts(self, family_name: str) -> bool:
        """Whether a process, of those that ended too, has counted in this family; what is shared does not count."""
        return self._members.any_counts(family_name, self._incarnation.numbers())

    def _run(self) -> None:
        while True:
            self._guarded(self._tick)  # also where the end came first: what was counted until then is published
            self._sleep()
            if self._stopping:
                break
        self._guarded(self._finish)

    def _sleep(self) -> None:
        """Until the next tick; origins that come meanwhile are sent at once."""
        # So that processes started together do not stay together.
        until = self._clock.monotonic() + spread(self._interval_seconds / _TICKS_PER_INTERVAL)
        while not self._stopping:
            remaining = until - self._clock.monotonic()
            if remaining <= 0 or not self._wake.wait(remaining):
                return
            self._wake.clear()
            self._guarded(self._work_at_desk)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except StoreUnavailableError as error:
            self._failed(str(error))
        except Exception:  # noqa: BLE001 - the thread must go on, and the host be spared
            self._metrics.count_internal_error("relay")
        finally:
            if step == self._tick:
                self.settled.set()

    def _tick(self) -> None:
        try:
            store = self._store or self._choose()
            if self._is_publishing_due():
                self._publish(store)
            if self._serves():
                self._read(store)
        except StoreUnavailableError:
            if self._serves():
                self._go_alone()
            raise
        self._answered()
        self._desk.work(store)

    def _is_publishing_due(self) -> bool:
        due_after = self._interval_seconds * (1 - 0.5 / _TICKS_PER_INTERVAL)
        return self._published_at is None or self._clock.monotonic() - self._published_at >= due_after

    def _choose(self) -> RelayStore:
        """The first store that answers; where none does, the failure of the last.

        Raises:
            StoreUnavailableError: none answers.
        """
        for place, make in enumerate(self._factories, 1):
            store = None
            try:
                store = make()
                self._publish(store)
            except StoreUnavailableError as error:
                if store is not None:
                    store.close()
                if place == len(self._factories):
                    raise
                self._event("WARNING", "relay store does not answer", "relay", reason=str(error))
            else:
                self._store, self._make_store = store, make
                self._event("INFO", "relay open", "relay", store=store.name)
                return store
        raise StoreUnavailableError

    def open_store(self) -> RelayStore | None:
        """Another connection to the store that is used, for another thread; None before one answered."""
        return self._make_store() if self._make_store is not None else None

    def _publish(self, store: RelayStore, *, ended: bool = False) -> None:
        self._bring_up_to_date()
        answer, _ = self._incarnation.publish(store, ended=ended)
        self._published_at = self._clock.monotonic()
        if answer.silent and not self._serves():
            self._fold_for_others(store)

    def _fold_for_others(self, store: RelayStore) -> None:
        """No process that shows the sums has been here for long: what ended must not pile up."""
        now = self._clock.monotonic()
        if now - self._folded_for_others_at < EXPIRY_INTERVALS * self._interval_seconds:
            return
        self._folded_for_others_at = now
        members = self._make_members()
        members.update(store)
        self._count_folded(members.fold(store, self._incarnation.id))

    def _read(self, store: RelayStore) -> None:
        first = self._members.now_seconds == 0.0
        self._members.update(store)
        if first and not self._members.others_serve(self._incarnation.id):
            # Nobody else is asked: what this process showed by itself must not vanish until its vector is of the past.
            self._note_own(NO_EPOCH)
        alone = not self._members.others_serve(self._incarnation.id)
        self._sums.fill(self._members, int(self._members.now_seconds / self._interval_seconds), alone=alone)
        self._count_folded(self._members.fold(store, self._incarnation.id, self._sums.name_of))

    def _store_now(self) -> float:
        """The store's clock, as far as is known."""
        return self._clock.monotonic() + self._members.clock_offset

    def _go_alone(self) -> None:
        """The store does not answer. Where nobody else shows the sums, they go on with what is counted here."""
        if self._members.others_serve(self._incarnation.id):
            return
        self._bring_up_to_date()
        epoch = int(self._store_now() / self._interval_seconds)
        self._note_own(epoch if self._sums.filled else NO_EPOCH)
        shared = self._shared_counts.read()
        if any(shared.values):
            self._members.note_shared(shared, epoch)
        self._sums.fill(self._members, epoch, alone=True)

    def _own_families(self) -> list[AnyFamily]:
        shared = {id(family) for family in self._shared()}
        families = (family for registry in self._registries for family in registry.families())
        return [family for family in families if id(family) not in shared]

    def _bring_up_to_date(self) -> None:
        """What is brought up to date by scrapes, must be so without them: others show it."""
        for registry in self._registries:
            try:
                registry.refresh()
            except Exception:  # noqa: BLE001 - the numbers as they are, then
                self._metrics.count_internal_error("relay")

    def _note_own(self, epoch: int) -> None:
        self._members.note_own(self._incarnation.id, self._incarnation.sequence, self._incarnation.numbers(), epoch)

    def _work_at_desk(self) -> None:
        if self._store is not None:
            self._desk.work(self._store)

    def _finish(self) -> None:
        store = self._store
        if store is None:
            return
        try:
            self._desk.work(store)
            self._publish(store, ended=True)
        finally:
            store.close()
            self._store = None

    def _count_folded(self, count: int) -> None:
        if count:
            self._metrics.relay_folded.labels().inc(count)

    def _answered(self) -> None:
        self._answered_at = self._clock.monotonic()
        if self._failing:
            self._failing = False
            self._event("INFO", "relay store answers again", "relay", store=self.store_name)

    def _failed(self, reason: str) -> None:
        self._metrics.relay_failures.labels("store").inc()
        if not self._failing:
            self._failing = True
            self._event("WARNING", "relay store does not answer", "relay", reason=reason)
