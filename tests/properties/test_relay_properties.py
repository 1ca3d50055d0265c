"""Any order of counting, ticking, killing, stopping, losing the store and its answers: the sums hold.

Whole relays, without their threads, share a directory; time is moved by hand.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.base import Published, StoreUnavailableError
from ordinaut_ext_observability.relay.directory import DirectoryStore
from ordinaut_ext_observability.relay.members import EXPIRY_INTERVALS
from ordinaut_ext_observability.relay.relay import Relay

INTERVAL = 2.0
STEP = INTERVAL / 8
STEPS_PER_TICK = 4
_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


class ManualClock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class FailingStore:
    """A directory store that can lose calls, or only its answers."""

    def __init__(self, world: World, process: Process) -> None:
        self._store = DirectoryStore(
            world.folder, interval_seconds=INTERVAL, expiry_seconds=EXPIRY_INTERVALS * INTERVAL, clock=world.clock
        )
        self._world = world
        self._process = process

    def publish(self, incarnation: str, sequence: int, content: bytes, *, last_store: str) -> Any:
        counted = self._process.counted
        answer = self._call("publish", incarnation, sequence, content, last_store=last_store)
        if isinstance(answer, Published):
            self._process.published = counted
        if self._process.loses_answers:
            raise StoreUnavailableError
        return answer

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        return (lambda *args, **kwargs: self._call(name, *args, **kwargs)) if callable(value) else value

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._world.is_down or self._process.is_cut_off:
            raise StoreUnavailableError
        return getattr(self._store, name)(*args, **kwargs)


class Process:
    """A worker or an API process; it counts heartbeats, and steps that take a second each."""

    def __init__(self, world: World, phase: int, *, serves: bool) -> None:
        self.metrics = Metrics(Registry())
        self.serves = serves
        self.phase = phase
        self.counted = 0
        self.published = 0
        """What the store took of it."""
        self.stopped = False
        self.loses_answers = False
        self.is_cut_off = False
        """The store answers others only."""
        self.relay = Relay(
            [lambda: FailingStore(world, self)],
            self.metrics,
            world.clock,
            serves=lambda: serves,
            interval_seconds=INTERVAL,
            event=lambda *_, **__: None,
        )

    def count(self, amount: int, kind: str) -> None:
        self.counted += amount
        self.metrics.worker_heartbeats.labels(kind).inc(amount)
        for _ in range(amount):
            self.metrics.step_seconds.labels("tool", kind, "task").observe(1.0)

    def tick(self) -> None:
        self.relay._guarded(self.relay._tick)

    def shown(self) -> tuple[float, float] | None:
        """The sum of the heartbeats and of the steps' seconds; None while no counts are shown."""
        registry = self.relay.shown()
        families = {family.name: family for family in registry.families()}
        if self.metrics.worker_heartbeats.name not in families:
            return None
        heartbeats = sum(child.value for child in families[self.metrics.worker_heartbeats.name].children())
        seconds = sum(child.sum for child in families[self.metrics.step_seconds.name].children())
        return heartbeats, seconds


class World(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="relay-properties-", dir=_IN_MEMORY))
        self.clock = ManualClock()
        self.is_down = False
        self.steps = 0
        self.running: list[Process] = []
        self.kept_of_dead = 0
        self.made = 0
        self.highest: tuple[float, float] = (0, 0)
        """That any process has shown."""

    def teardown(self) -> None:
        try:
            if self.running:
                self.at_rest_the_sums_are_the_truth()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @initialize(readers=st.integers(1, 2))
    def begin(self, readers: int) -> None:
        for _ in range(readers):
            self._start(serves=True)
        self._start(serves=False)
        self._advance(4 * 8)

    @precondition(lambda self: len(self.running) < 6 and not self.is_down)
    @rule(serves=st.booleans())
    def start_process(self, serves: bool) -> None:
        self._start(serves=serves and len(self._readers()) < 3)

    @rule(which=st.integers(0), amount=st.integers(1, 5), kind=st.sampled_from("ab"))
    def count(self, which: int, amount: int, kind: str) -> None:
        process = self.running[which % len(self.running)]
        if not process.stopped:
            process.count(amount, kind)

    @rule(steps=st.one_of(st.integers(1, 24), st.just(8 * EXPIRY_INTERVALS + 40)))
    def advance(self, steps: int) -> None:
        self._advance(steps)

    @rule(which=st.integers(0))
    def kill(self, which: int) -> None:
        process = self.running[which % len(self.running)]
        if process.serves and len(self._readers()) == 1:
            return
        self.running.remove(process)
        self.kept_of_dead += process.published

    @rule(which=st.integers(0))
    def end_in_order(self, which: int) -> None:
        process = self._worker(which)
        if process is None or process.stopped or process.loses_answers or process.is_cut_off:
            return
        process.count(1, "a")
        process.relay._guarded(process.relay._finish)
        self.running.remove(process)
        self.kept_of_dead += process.published

    @rule(which=st.integers(0))
    def stop(self, which: int) -> None:
        """As SIGSTOP does."""
        process = self._worker(which)
        if process is not None:
            process.stopped = True

    @rule()
    def resume(self) -> None:
        for process in self.running:
            process.stopped = False

    @rule(which=st.integers(0))
    def lose_answers(self, which: int) -> None:
        process = self._worker(which)
        if process is not None:
            process.loses_answers = not process.loses_answers

    @rule(which=st.integers(0))
    def cut_off(self, which: int) -> None:
        process = self._worker(which)
        if process is not None:
            process.is_cut_off = not process.is_cut_off

    @precondition(lambda self: len(self._readers()) == 1)
    @rule(steps=st.integers(1, 40), loses=st.booleans())
    def take_the_store_away(self, steps: int, loses: bool) -> None:
        """For a while; what was read is not lost with it."""
        for process in self._readers():
            process.tick()
        self.is_down = True
        self._advance(steps)
        if loses:
            shutil.rmtree(self.folder)
        self.is_down = False
        for process in self._readers():
            process.tick()
        self._advance(8)

    @rule()
    def lose_the_store(self) -> None:
        for process in self._readers():
            process.tick()
        shutil.rmtree(self.folder)
        for process in self._readers():
            process.tick()

    @invariant()
    def sums_never_go_back(self) -> None:
        for reader in self._readers():
            shown = reader.shown()
            if shown is None:
                continue
            assert shown >= self.highest and shown[1] >= self.highest[1], f"{shown} after {self.highest}"
            self.highest = shown

    @invariant()
    def no_more_is_shown_than_was_counted(self) -> None:
        counted = self.kept_of_dead + sum(process.counted for process in self.running)
        for reader in self._readers():
            shown = reader.shown()
            assert shown is None or shown[0] <= counted

    @invariant()
    def readers_of_one_epoch_agree(self) -> None:
        by_epoch: dict[int, list[float]] = {}
        for reader in self._readers():
            for shown in reader.relay._sums._views:
                heartbeats = next(
                    f for f in shown.registry.families() if f.name == reader.metrics.worker_heartbeats.name
                )
                by_epoch.setdefault(shown.epoch, []).append(sum(child.value for child in heartbeats.children()))
        assert all(len(set(sums)) == 1 for sums in by_epoch.values()), by_epoch

    @invariant()
    def nothing_failed_inside(self) -> None:
        for process in self.running:
            assert len(process.metrics.internal_errors) == 0

    def at_rest_the_sums_are_the_truth(self) -> None:
        self.resume()
        for process in self.running:
            process.loses_answers = process.is_cut_off = False
        self._advance(8 * (EXPIRY_INTERVALS + 8))
        truth = self.kept_of_dead + sum(process.counted for process in self.running)
        for reader in self._readers():
            assert reader.shown() == (truth, truth)
            assert reader.relay.process_count == len(self.running)

    def _worker(self, which: int) -> Process | None:
        workers = [process for process in self.running if not process.serves]
        return workers[which % len(workers)] if workers else None

    def _readers(self) -> list[Process]:
        return [process for process in self.running if process.serves]

    def _start(self, *, serves: bool) -> None:
        self.made += 1
        process = Process(self, self.made % STEPS_PER_TICK, serves=serves)
        process.tick()
        self.running.append(process)

    def _advance(self, steps: int) -> None:
        for _ in range(steps):
            self.steps += 1
            self.clock.now += STEP
            for process in self.running:
                if not process.stopped and (self.steps + process.phase) % STEPS_PER_TICK == 0:
                    process.tick()
            self.sums_never_go_back()


TestRelay = World.TestCase
TestRelay.settings = settings(max_examples=40, stateful_step_count=25, phases=[Phase.generate])
