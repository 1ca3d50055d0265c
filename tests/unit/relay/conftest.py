"""Whole relays without their threads, on one directory, with time that is moved by hand."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.base import StoreUnavailableError
from ordinaut_ext_observability.relay.directory import DirectoryStore
from ordinaut_ext_observability.relay.members import EXPIRY_INTERVALS
from ordinaut_ext_observability.relay.relay import Relay

INTERVAL = 2.0


class ManualClock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class FailingStore:
    """A store whose calls raise `failure` while there is one; with `after` once the store has done them."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store
        self.failure: Exception | None = None
        self.after = False
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        return self._guarded(name, value) if callable(value) else value

    def _guarded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.failure is not None and not self.after:
                raise self.failure
            answer = call(*args, **kwargs)
            if self.failure is not None:
                raise self.failure
            return answer

        return run


class Process:
    """What one process has of the relay."""

    def __init__(self, place: Place, *, serves: bool, budgets: LabelBudgets | None = None) -> None:
        self.metrics = Metrics(Registry(), budgets)
        self.store = place.open()
        self.events: list[tuple[Any, ...]] = []
        self.relay = Relay(
            [lambda: self.store],
            self.metrics,
            place.clock,
            serves=lambda: serves,
            interval_seconds=INTERVAL,
            event=lambda *args, **fields: self.events.append((*args, fields)),
        )

    def count(self, amount: int, kind: str = "w") -> None:
        self.metrics.worker_heartbeats.labels(kind).inc(amount)

    def tick(self) -> None:
        self.relay._guarded(self.relay._tick)

    def end(self) -> None:
        self.relay._guarded(self.relay._finish)

    def shown(self) -> float:
        """The sum of all heartbeats."""
        return sum(self.shown_by_worker().values())

    def shows_counts(self) -> bool:
        """Whether there are counters at all: one of several processes has none while it lacks the epoch that is due."""
        return any(family.kind == "counter" for family in self.relay.shown().families())

    def shown_by_worker(self) -> dict[str, float]:
        return {values[0]: value for values, value in self.series("orchestrator_worker_heartbeat_total").items()}

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Series of a counter or gauge as a scrape would show them."""
        registry = self.relay.shown()
        registry.refresh()
        family: Any = next(family for family in registry.families() if family.name == name)
        return {child.label_values: child.value for child in family.children()}

    def internal_errors(self) -> dict[tuple[str, ...], float]:
        return {child.label_values: child.value for child in self.metrics.internal_errors.children()}


class Place:
    """A directory that processes share, and the processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.processes: list[Process] = []

    def open(self) -> FailingStore:
        return FailingStore(
            DirectoryStore(
                self.path, interval_seconds=INTERVAL, expiry_seconds=EXPIRY_INTERVALS * INTERVAL, clock=self.clock
            )
        )

    def start(self, *, serves: bool = False, budgets: LabelBudgets | None = None) -> Process:
        """A process that has ticked once."""
        process = Process(self, serves=serves, budgets=budgets)
        process.tick()
        self.processes.append(process)
        return process

    def leave(self, process: Process) -> Process:
        """From now on it does nothing: it was killed, or stopped."""
        self.processes.remove(process)
        return process

    def pass_intervals(self, count: float) -> None:
        """Every process ticks twice in each."""
        for _ in range(round(count * 2)):
            self.clock.now += INTERVAL / 2
            for process in self.processes:
                process.tick()

    def lose(self) -> None:
        shutil.rmtree(self.path)

    def write_vector(self, name: str, content: bytes) -> Path:
        path = self.path / "2000" / "vectors" / name
        path.write_bytes(content)
        os.utime(path, (self.clock.now, self.clock.now))
        return path

    def vector_files(self) -> list[Path]:
        return list((self.path / "2000" / "vectors").iterdir())


@pytest.fixture
def place() -> Iterator[Place]:
    # In memory where there is such a place: thousands of files are written.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Place(Path(folder) / "relay")


@pytest.fixture
def unavailable() -> StoreUnavailableError:
    return StoreUnavailableError("the test takes it away")
