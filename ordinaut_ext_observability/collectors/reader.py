"""What the leader reads in one transaction, and the state that the next leader needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ordinaut_ext_observability.collectors.activity import ActivityCollector
from ordinaut_ext_observability.collectors.connection import Reading
from ordinaut_ext_observability.collectors.drift import DriftCollector
from ordinaut_ext_observability.collectors.facts import QueueFacts, SchedulerFacts, WorkerFacts
from ordinaut_ext_observability.collectors.queue import QueueReading, SeenLease, read_queue, show_queue
from ordinaut_ext_observability.collectors.run_reading import RunsCollector
from ordinaut_ext_observability.collectors.scheduler import (
    Tasks,
    read_scheduler,
    read_tasks,
    show_scheduler,
    show_tasks,
)
from ordinaut_ext_observability.collectors.states import States
from ordinaut_ext_observability.collectors.workers import WorkersCollector
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_STATE_VERSION = "1"
"""Another version begins anew."""

LEADERS = ("queue", "workers", "scheduler", "tasks", "runs", "activity", "drift")
"""The collectors that only the leader runs."""


class SystemReader:
    """The collectors of the leader; each fails by itself."""

    def __init__(self, families: SystemMetrics, states: States, *, fresh_seconds: float) -> None:
        self._families = families
        self._states = states
        self._fresh_seconds = fresh_seconds
        self._workers = WorkersCollector(families, fresh_seconds)
        self._runs = RunsCollector(families)
        self._activity = ActivityCollector(families)
        self._drift = DriftCollector(families)

    async def read(self, reading: Reading) -> None:
        """Read and show everything that can be read.

        Raises:
            Exception: the connection failed.
        """
        self._families.show_sources()
        queue = await self._queue(reading)
        # Without the queue there are no leases; without those it is not known what runs may still come.
        await self._read_workers(reading, queue.leases if queue is not None else ())
        if queue is not None:
            await self._read_runs(reading, queue.leases, self._workers.heartbeats)
            await self._states.attempt("drift", reading, lambda: self._drift.read(reading, queue.leases))
        tasks = await self._states.attempt("tasks", reading, lambda: read_tasks(reading))
        if tasks is not None:
            show_tasks(self._families, tasks)
        await self._scheduler(reading, tasks)
        await self._states.attempt("activity", reading, lambda: self._activity.read(reading))
        self._activity.show(reading.now)
        self._show_rows()

    def reset(self) -> None:
        """Begin with nothing counted: what is there is the baseline."""
        for _, collector in self._counting():
            collector.reset()

    def dump(self) -> bytes:
        """What `load` takes."""
        states = {name: collector.dump() for name, collector in self._counting()}
        return orjson.dumps({_STATE_VERSION: states})

    def load(self, state: bytes) -> None:
        """Go on where another process stopped; where its state cannot be read, as after `reset`.

        Raises:
            ValueError: it cannot be read.
        """
        self.reset()
        try:
            states: dict[str, Any] = orjson.loads(state)
            states = states[_STATE_VERSION]
            for name, collector in self._counting():
                collector.load(states[name])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.reset()
            raise ValueError("the state of the collectors cannot be read") from error

    def _counting(
        self,
    ) -> tuple[tuple[str, WorkersCollector | RunsCollector | ActivityCollector | DriftCollector], ...]:
        return (
            ("workers", self._workers),
            ("runs", self._runs),
            ("activity", self._activity),
            ("drift", self._drift),
        )

    async def _queue(self, reading: Reading) -> QueueReading | None:
        found: list[QueueReading] = []

        async def read() -> QueueFacts:
            found.append(await read_queue(reading, self._fresh_seconds))
            return found[0].facts

        facts = await self._states.attempt("queue", reading, read)
        if facts is None:
            return None
        show_queue(self._families, facts)
        return found[0]

    async def _read_workers(self, reading: Reading, leases: Iterable[SeenLease]) -> None:
        held = tuple(leases)

        async def read() -> WorkerFacts:
            return await self._workers.read(reading, held)

        facts = await self._states.attempt("workers", reading, read)
        if facts is not None:
            self._workers.show(facts, held, reading.now)

    async def _read_runs(self, reading: Reading, leases: Iterable[SeenLease], heartbeats: Mapping[str, float]) -> None:
        async def read() -> bool:
            await self._runs.read(reading, leases, heartbeats)
            return True

        if await self._states.attempt("runs", reading, read):
            self._runs.show(reading.now)

    async def _scheduler(self, reading: Reading, tasks: Tasks | None) -> None:
        async def read() -> SchedulerFacts:
            return await read_scheduler(reading, tasks)

        facts = await self._states.attempt("scheduler", reading, read)
        if facts is not None:
            show_scheduler(self._families, facts)

    def _show_rows(self) -> None:
        for name, collector in self._counting():
            self._families.collector_rows.labels(name).set(collector.rows)
