"""Any order of counting, ticking, scraping, killing, stopping, losing the store and its answers: the total holds.

Whole relays, without their threads, share a store in memory; time is moved by hand.
"""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ordinaut_ext_observability.cluster.base import ClusterBusyError, ClusterUnavailableError
from ordinaut_ext_observability.cluster.sqlite import MEMORY
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.exchange import Exchange
from ordinaut_ext_observability.relay.relay import Relay
from ordinaut_ext_observability.relay.siblings import Siblings
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore
from tests.clock import ManualClock

INTERVAL = 2.0


class FailingStore:
    """A store that can lose calls, only its answers, or only writes."""

    def __init__(self, process: Process, store: Any) -> None:
        self._process = process
        self._store = store
        self.name = "failing"

    def publish(self, store: str, publication: Any) -> Any:
        answer = self._call("publish", store, publication)
        if self._process.loses_answers:
            raise ClusterUnavailableError
        return answer

    def close(self) -> None:
        """Leave the store open: it is in memory, and others have it too."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._call(name, *args, **kwargs)

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._process.is_cut_off or self._process.world.is_down:
            raise ClusterUnavailableError
        if self._process.world.is_busy and name != "read":
            raise ClusterBusyError
        return getattr(self._store, name)(*args, **kwargs)


class Neighbours(Siblings):
    """The other processes that serve, all at one address."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def count(self) -> int:
        return len(self._world.readers()) - 1


class Process:
    """A worker or an API process; it counts heartbeats, and steps that take a second each."""

    def __init__(self, world: World, *, serves: bool) -> None:
        self.world = world
        self.metrics = Metrics(Registry())
        self.serves = serves
        self.counted = 0
        self.stopped = False
        self.loses_answers = False
        self.is_cut_off = False
        """The store answers others only."""
        self.relay = Relay(
            Exchange(lambda: FailingStore(self, world.store), [self.metrics.registry], self.metrics),  # type: ignore[arg-type,return-value]
            self.metrics,
            world.clock,
            Neighbours(world),
            INTERVAL,
            lambda *_, **__: None,
        )
        self.relay._serves = serves

    def count(self, amount: int, kind: str) -> None:
        self.counted += amount
        self.metrics.worker_heartbeats.labels(kind).inc(amount)
        for _ in range(amount):
            self.metrics.step_seconds.labels("tool", kind, "task").observe(1.0)

    def tick(self) -> None:
        self.relay._guarded(self.relay._take_part)

    def scrape(self) -> tuple[float, float] | None:
        """The heartbeats and the steps' seconds; None where no counts are shown."""
        read = not self.relay.state.failing and self.relay._guarded(self.relay.exchange.publish_and_read)
        return self.numbers(self.relay.shown(fresh=read))

    def numbers(self, registry: Registry) -> tuple[float, float] | None:
        families: dict[str, Any] = {family.name: family for family in registry.families()}
        if self.metrics.worker_heartbeats.name not in families:
            return None
        heartbeats = sum(child.value for child in families[self.metrics.worker_heartbeats.name].children())
        seconds = sum(child.sum for child in families[self.metrics.step_seconds.name].children())
        return heartbeats, seconds


class World(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.store = SqliteRelayStore(MEMORY, self.clock)
        self.is_down = self.is_busy = False
        self.running: list[Process] = []
        self.counted_by_dead = 0
        self.lossless = True
        """Whether nothing has happened yet that may lose counts."""
        self.highest: tuple[float, float] = (0, 0)
        """That any process has shown, of this store."""

    def teardown(self) -> None:
        if self.running:
            self.at_rest_each_count_is_added_once()
        self.store.close()

    def readers(self) -> list[Process]:
        return [process for process in self.running if process.serves]

    @initialize(readers=st.integers(1, 3))
    def begin(self, readers: int) -> None:
        for _ in range(readers):
            self.start_process(serves=True)
        self.start_process(serves=False)

    @rule(serves=st.booleans())
    def start_process(self, serves: bool) -> None:
        if len(self.running) < 7:
            self.running.append(Process(self, serves=serves))
            self.running[-1].tick()

    @rule(which=st.integers(0), amount=st.integers(1, 5), kind=st.sampled_from("abc"))
    def count(self, which: int, amount: int, kind: str) -> None:
        process = self.running[which % len(self.running)]
        if not process.stopped:
            process.count(amount, kind)

    @rule(ticks=st.lists(st.integers(0, 6), max_size=8))
    def advance(self, ticks: list[int]) -> None:
        for which in ticks:
            self.clock.now += INTERVAL / 4
            process = self.running[which % len(self.running)]
            if not process.stopped:
                process.tick()

    @rule(which=st.integers(0))
    def scrape(self, which: int) -> None:
        readers = [process for process in self.readers() if not process.stopped]
        if not readers:
            return
        process = readers[which % len(readers)]
        shown = process.scrape()
        if shown is not None:
            assert shown >= self.highest and shown[1] >= self.highest[1], f"{shown} after {self.highest}"
            assert shown[0] <= self.counted_by_dead + sum(process.counted for process in self.running)
            assert shown[0] == shown[1]
            self.highest = shown

    @rule(which=st.integers(0))
    def kill(self, which: int) -> None:
        process = self.running[which % len(self.running)]
        if len(self.running) > 1 and not (process.serves and len(self.readers()) == 1):
            if self.is_down:
                self.highest = (0, 0)  # what it showed by itself ends with it
            self.lossless = False
            self.running.remove(process)
            self.counted_by_dead += process.counted

    @rule(which=st.integers(0))
    def end_in_order(self, which: int) -> None:
        process = self.running[which % len(self.running)]
        if process.serves or process.stopped or process.loses_answers or process.is_cut_off:
            return
        process.count(1, "a")
        self.lossless &= not (self.is_down or self.is_busy)
        process.relay._guarded(process.relay.exchange.leave)
        self.running.remove(process)
        self.counted_by_dead += process.counted

    @rule(which=st.integers(0), state=st.sampled_from(["stopped", "loses_answers", "is_cut_off"]))
    def trouble(self, which: int, state: str) -> None:
        process = self.running[which % len(self.running)]
        setattr(process, state, not getattr(process, state))

    @rule(state=st.sampled_from(["is_down", "is_busy"]))
    def trouble_for_all(self, state: str) -> None:
        setattr(self, state, not getattr(self, state))

    @rule()
    def lose_the_store(self) -> None:
        """A counter reset: nothing that was counted before may come back as a burst, nothing counts twice."""
        self.store.close()
        self.lossless, self.highest = False, (0, 0)

    @invariant()
    def nothing_failed_inside(self) -> None:
        for process in self.running:
            assert len(process.metrics.internal_errors) == 0

    def at_rest_each_count_is_added_once(self) -> None:
        self.is_down = self.is_busy = False
        for process in self.running:
            process.stopped = process.loses_answers = process.is_cut_off = False
        for _ in range(3):
            self.clock.now += INTERVAL
            for process in self.running:
                process.tick()
        (before, _), *others = [process.scrape() or (-1, -1) for process in self.readers()]
        assert all(other[0] == before for other in others)
        if self.lossless:
            assert before == self.counted_by_dead + sum(process.counted for process in self.running)
        for process in self.running:
            process.count(1, "a")
            process.tick()
        for reader in self.readers():
            assert reader.scrape() == (before + len(self.running), before + len(self.running))


TestRelay = World.TestCase
TestRelay.settings = settings(max_examples=40, stateful_step_count=40, phases=[Phase.generate], deadline=None)
