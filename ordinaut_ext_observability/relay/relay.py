"""The relay of one process: a thread that adds what the process counted to the total, and reads it for scrapes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError, Put
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.exchange import Exchange
from ordinaut_ext_observability.relay.origin_queue import OriginQueue
from ordinaut_ext_observability.relay.siblings import Siblings
from ordinaut_ext_observability.relay.store import RelayStore

_TICKS_PER_READING = 2
"""Publications for one reading of what others said: scrapes and history read by themselves, and failures at once."""


class SharedDocument(Protocol):
    """A part's side of a document in the store."""

    @property
    def waits(self) -> bool:
        """True while there is something to write."""

    def exchange(self, content: bytes, write: Callable[[bytes], bool], /) -> None:
        """Take the content, and write another where something waits; False: what was read is outdated."""


@dataclass(slots=True)
class StoreState:
    """The answers of the store, told to the log where it changes."""

    metrics: Metrics
    clock: Clock
    event: events.LogEvent
    answered_at: float | None = None
    failing: bool = False
    settled: threading.Event = field(default_factory=threading.Event)
    """Set once the store was asked for the first time, whatever came of it."""

    def age_seconds(self) -> float | None:
        """Seconds since the store answered last; None if it never did."""
        return None if self.answered_at is None else self.clock.monotonic() - self.answered_at

    def answered(self, store: str | None) -> None:
        """Note an answer."""
        if self.failing or self.answered_at is None:
            self.event(events.RELAY_OPEN if self.answered_at is None else events.RELAY_RECOVERED, store=store)
        self.answered_at = self.clock.monotonic()
        self.failing = False

    def failed(self, error: Exception) -> None:
        """Note a failure, of the store's or of ours."""
        was_failing, self.failing = self.failing, True
        if not isinstance(error, ClusterUnavailableError):
            self.metrics.count_internal_error("relay")
            return
        self.metrics.relay_failures.labels("store").inc()
        if not was_failing:
            self.event(events.RELAY_FAILED, reason=str(error))


class Relay(BackgroundThread):
    """Adds this process's counts to the total, and shows the total.

    A scrape is answered from a total that was read after it began and has all that this process counted until then. So
    no later scrape, of whichever process, shows less. Where the store does not answer, a process that serves alone goes
    on with the last total and its own counts; of several, each leaves the counts out.
    """

    def __init__(
        self,
        exchange: Exchange,
        metrics: Metrics,
        clock: Clock,
        siblings: Siblings,
        interval_seconds: float,
        event: events.LogEvent,
    ) -> None:
        """Nothing is started or connected to. `event` logs what happens to the store."""
        task = PeriodicTask("relay", self._tick, interval_seconds, finish=self._leave)
        super().__init__("relay", lambda: [task], lambda *_: metrics.count_internal_error("relay"))
        self.exchange = exchange
        self._new_state = partial(StoreState, metrics, clock, event)
        self.origins = OriginQueue(self, clock, exchange, metrics.relay_failures.labels("origin").inc)
        self.documents: dict[str, SharedDocument] = {}
        """By name: exchanged with each reading, and after a publication where something waits."""
        self._siblings = siblings
        self._interval_seconds = interval_seconds
        self._serves = False
        self._know_nothing()

    def _know_nothing(self) -> None:
        self.state = self._new_state()
        self._ticks = 0
        self._alone = False
        """Set where the store fails and no other process on this machine serves at this one's address."""
        self._asked: Future[bool] | None = None
        """A reading that has not begun: all that ask for one meanwhile get it."""
        self._lock = threading.Lock()
        """Held while the store is asked: a thread that was stopped may still wait for an answer when another starts."""

    def reset_after_fork(self) -> None:
        """In a forked child: no thread, no connection, and counts that begin at zero."""
        super().reset_after_fork()
        self._know_nothing()
        self.origins.reset_after_fork()
        self.exchange.reset_after_fork()

    def start(self, *, serves: bool = False) -> None:
        """Begin publishing; `serves`: this process shows the total, from now on. May be called again."""
        self._serves |= serves
        self._ticks = 0  # who serves from now on reads at its next tick
        if not self.started:
            self._asked = None
        super().start()

    def read_total(self) -> Future[bool]:
        """Publish and read the total in the relay's thread; True once that succeeded.

        While the store is known to fail, False at once: the next interval asks it again, and nobody waits.
        """
        asked = self._asked
        if asked is None:
            asked = self._asked = Future()
            if self.state.failing or not self.call_soon(self._answer, asked):
                self._asked = None
                asked.set_result(False)
        return asked

    def shown(self, *, fresh: bool) -> Registry:
        """The registry to show: the total where it is `fresh`, else what cannot go back."""
        exchange, merged = self.exchange, self.exchange.merged
        if not fresh:
            if not (self.state.failing and (merged.store or self._alone)) or exchange.others_serve:
                return merged.gauges_registry
            exchange.show_alone(merged)
        return merged.registry

    async def _tick(self) -> None:
        try:
            self._guarded(self._take_part)
        finally:
            self.state.settled.set()
        self.origins.send()

    async def _leave(self) -> None:
        is_early = self.exchange.store is None and not self.state.failing  # it ends before its first publication
        self._guarded(self._take_part if is_early else partial(self._exchange_documents, every=False))
        self._guarded(self.exchange.leave)

    def _take_part(self) -> None:
        # Said before the first reading: so of several processes that start, at most one thinks it is alone.
        self.exchange.publish(serves=self._serves, interval_seconds=self._interval_seconds)
        is_due = self.state.failing or self._ticks % _TICKS_PER_READING == 0
        self._ticks += 1
        if self._serves and is_due:
            self.exchange.read()
        self._exchange_documents(every=is_due)

    def _exchange_documents(self, *, every: bool) -> None:
        for name, document in self.documents.items():
            if every or document.waits:
                self._call(self._exchange_document, name, document, self.exchange.store)

    def _exchange_document(self, name: str, document: SharedDocument, store: RelayStore | None) -> None:
        if store is not None:
            with suppress(ClusterUnavailableError):  # there is a next time
                held = store.get(name)
                document.exchange(held.content, lambda content: store.write([Put(name, held.version, content)]))

    def _answer(self, asked: Future[bool]) -> None:
        if self._asked is asked:
            self._asked = None
        is_due = not (self._stop.is_set() or self.state.failing)
        asked.set_result(is_due and self._guarded(self.exchange.publish_and_read))

    def _guarded(self, step: Callable[[], None]) -> bool:
        """Do a step; False where it failed."""
        try:
            with self._lock:
                step()
        except Exception as error:  # noqa: BLE001 - the thread must go on, and the host be spared
            self._alone = not self._siblings.count()
            self.state.failed(error)
            return False
        self.state.answered(self.exchange.store_name)
        return True
