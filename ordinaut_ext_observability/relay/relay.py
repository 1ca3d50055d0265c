"""The relay of one process: a thread that adds what the process counted to the total, and reads it for scrapes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.daemon_threads import join_until
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.jitter import spread
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.exchange import Exchange
from ordinaut_ext_observability.relay.families import RelayFamilies
from ordinaut_ext_observability.relay.origin_desk import OriginDesk
from ordinaut_ext_observability.relay.origins import Origin
from ordinaut_ext_observability.relay.store import Stores


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """How a process takes part."""

    interval_seconds: float
    serves: Callable[[], bool]
    """Whether the process shows the total."""
    serves_alone: Callable[[], bool]
    """Whether no other process on this machine serves at its address: asked while the store tells nothing."""
    event: events.LogEvent
    """Logs what happens to the relay."""


class Relay:
    """Adds this process's counts to the total, and shows the total.

    A scrape is answered from a total that was read after it began and has all that this process counted until then. So
    no later scrape, of whichever process, shows less. Where the store does not answer, a process that serves alone goes
    on with the last total and its own counts; of several, each leaves the counts out.
    """

    def __init__(
        self,
        open_stores: Callable[[], Stores],
        families: RelayFamilies,
        metrics: Metrics,
        clock: Clock,
        options: RelayOptions,
    ) -> None:
        """Nothing is started or connected to."""
        self._families = families
        self._metrics = metrics
        self._clock = clock
        self._options = options
        self._exchange = Exchange(open_stores, families, metrics, clock)
        self._begin()
        reset_in_forked_child(self)

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._scrapes: deque[Callable[[bool], None]] = deque()
        """Those that wait to be told whether the total was read."""
        self._desk = OriginDesk(
            self._clock, self._wake.set, lambda: self._metrics.relay_failures.labels("origin").inc()
        )
        self._answered_at: float | None = None
        self._failing = False
        self.settled = threading.Event()
        """Set once the store was asked for the first time, whatever came of it."""

    def reset_after_fork(self) -> None:
        """In a forked child: no thread, no connection, and counts that begin at zero."""
        self._begin()
        self._exchange.reset_after_fork()

    @property
    def started(self) -> bool:
        """Whether it runs."""
        return self._thread is not None

    @property
    def store_name(self) -> str | None:
        """What the counts go through, or None before a store answered."""
        return self._exchange.store_name

    @property
    def process_count(self) -> int:
        """Processes whose counts are shown and that have not ended, this one included."""
        return self._exchange.process_count

    def age_seconds(self) -> float | None:
        """How long ago the store answered last; None if it never did."""
        return None if self._answered_at is None else self._clock.monotonic() - self._answered_at

    def gauges(self) -> list[dict[tuple[str, tuple[str, ...]], float]]:
        """The gauges of each living process, this one included."""
        return self._exchange.gauges()

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

    def read_total(self, done: Callable[[bool], None]) -> None:
        """Publish and read the total, then call `done` with whether that succeeded, in the relay's thread.

        While the store is known to fail, that is told at once: the next interval asks it again, and nobody waits.
        """
        if self._failing or self._thread is None:
            done(False)  # noqa: FBT003 - what it is told is in its description
            return
        self._scrapes.append(done)
        self._wake.set()

    def shown(self, *, fresh: bool) -> Registry:
        """The registry to show: the total where it is `fresh`, else what cannot go back."""
        merged = self._exchange.merged
        if fresh:
            return merged.registry
        self._families.refresh(lambda: self._metrics.count_internal_error("relay"))
        if not self._failing or self._exchange.others_serve or not (merged.store or self._options.serves_alone()):
            return merged.gauges_registry
        merged.show_alone(self._families.published())
        return merged.registry

    def push_origin(self, task_id: str, origin: Origin) -> None:
        """Send where a piece of work comes from; returns at once, the thread does it."""
        if self._thread is not None:
            self._desk.push(task_id, origin)

    def pop_origin(self, task_id: str) -> Origin | None:
        """Where the oldest piece of work of this task comes from, within a tenth of a second; None if not known."""
        return self._desk.pop(task_id) if self._thread is not None and self.store_name is not None else None

    def _run(self) -> None:
        due = self._clock.monotonic()
        while True:
            if self._clock.monotonic() >= due:
                self._guarded(self._tick)  # also where the end came first: what was counted until then is published
                self.settled.set()
                # So that processes started together do not stay together.
                due = self._clock.monotonic() + spread(self._options.interval_seconds)
            self._answer_scrapes()
            if self.store_name is not None:
                self._guarded(self._work_at_desk)
            if self._stopping:
                break
            self._wake.wait(max(due - self._clock.monotonic(), 0))
            self._wake.clear()
        self._guarded(self._exchange.leave)
        self._answer_scrapes()

    def _tick(self) -> None:
        options, exchange = self._options, self._exchange
        exchange.publish()
        # Before the first reading: so of several processes that start, at most one thinks it is alone.
        exchange.say(serves=options.serves(), interval_seconds=options.interval_seconds)
        if options.serves() and not exchange.was_read_within(options.interval_seconds / 2):
            exchange.read()

    def _answer_scrapes(self) -> None:
        """Answer all that asked before the reading began with one reading."""
        asked = [self._scrapes.popleft() for _ in range(len(self._scrapes))]
        if asked:
            read = not self._stopping and self._guarded(self._exchange.publish_and_read)
            for done in asked:
                done(read)

    def _work_at_desk(self) -> None:
        self._desk.work(self._exchange.cluster)

    def _guarded(self, step: Callable[[], None]) -> bool:
        """Do a step; False where it, or telling what came of it, failed."""
        try:
            try:
                step()
            except ClusterUnavailableError as error:
                self._failed(str(error))
                return False
            if step != self._work_at_desk:  # it handles its failures itself
                self._answered()
        except Exception:  # noqa: BLE001 - the thread must go on, and the host be spared
            self._failing = True
            self._metrics.count_internal_error("relay")
            return False
        return True

    def _answered(self) -> None:
        event, store = self._options.event, self.store_name
        if self._answered_at is None:
            event(events.RELAY_OPEN, store=store)
        elif self._failing:
            event(events.RELAY_RECOVERED, store=store)
        self._answered_at = self._clock.monotonic()
        self._failing = False

    def _failed(self, reason: str) -> None:
        self._metrics.relay_failures.labels("store").inc()
        if not self._failing:
            self._failing = True
            self._options.event(events.RELAY_FAILED, reason=reason)
