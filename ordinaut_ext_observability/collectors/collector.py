"""The collectors of PostgreSQL as one periodic task: connect, see who leads, read, save."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import Protocol

import asyncpg

from ordinaut_ext_observability.chance import spread
from ordinaut_ext_observability.clock import Clock
from ordinaut_ext_observability.collectors.checkpoint import Checkpoint, CheckpointStore, restore_totals
from ordinaut_ext_observability.collectors.connection import Database, Limits, Reading
from ordinaut_ext_observability.collectors.definitions import SystemMetrics
from ordinaut_ext_observability.collectors.facts import (
    Collected,
    DatabaseFacts,
    QueueFacts,
    SchedulerFacts,
    WorkerFacts,
)
from ordinaut_ext_observability.collectors.leadership import Leadership, LeaseStore
from ordinaut_ext_observability.collectors.problems import is_lasting
from ordinaut_ext_observability.collectors.reader import LEADERS, SystemReader
from ordinaut_ext_observability.collectors.states import States
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.relay.vector import NO_NUMBERS, NumberReader

FRESH_SECONDS = 75.0
"""Twice the interval of the host's heartbeats, and some slack."""

_ROUND_SECONDS = 20.0
"""Longest time that a round takes, whatever hangs."""

_LONGEST_PAUSE_SECONDS = 60.0
_ROUNDS_PER_FURTHER_READING = 4

_BUSY_SHARE = 0.1
"""Of the time a collector may spend reading; one that takes longer asks less often."""


class FurtherReading(Protocol):
    """What else the leader reads now and then, on the collectors' connection."""

    async def read(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Read, in a transaction with limits on every statement. Raises what asyncpg raises."""

    def clear(self) -> None:
        """Another process leads now: what was read is not shown."""


class SystemCollector:
    """Reads the host's database until it is told to stop; then nothing of it is left, neither connection nor gauge."""

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        clock: Clock,
        *,
        interval_seconds: float,
        checkpoint: CheckpointStore,
        lease: LeaseStore | None,
        event: Callable[..., None],
        fresh_seconds: float = FRESH_SECONDS,
        runs_reported: Callable[[], bool] = lambda: False,
        limits: Limits | None = None,
        further: FurtherReading | None = None,
    ) -> None:
        """Connects at the first round. While `runs_reported` is true, runs are counted and timed by who runs them.

        Raises:
            ValueError: the URL cannot be read.
        """
        self.families = SystemMetrics(metrics)
        self._database = Database(url, limits)
        self._clock = clock
        self._event = event
        self._checkpoints = checkpoint
        self._count_internal_error = metrics.count_internal_error
        self._states = States(self.families, clock, event, metrics.count_internal_error)
        self._reader = SystemReader(
            self.families, self._states, fresh_seconds=fresh_seconds, runs_reported=runs_reported
        )
        self._numbers = NumberReader(lambda: self.families.cluster_counters)
        # As long as two rounds and a half may take, so that a leader that is late keeps its lease.
        self._leadership = Leadership(uuid.uuid4().hex, lease, ttl_seconds=2.5 * interval_seconds + _ROUND_SECONDS)
        self._interval_seconds = interval_seconds
        self._further = further
        self._rounds_led = 0
        self._leading = False
        self._sequence = 0
        self._failures = 0
        self._took_seconds = 0.0

    @property
    def database(self) -> Collected[DatabaseFacts]:
        """Read by every process."""
        return self._states.of("database")

    @property
    def queue(self) -> Collected[QueueFacts]:
        """Read by the leader, as the two below."""
        return self._states.of("queue")

    @property
    def workers(self) -> Collected[WorkerFacts]:
        return self._states.of("workers")

    @property
    def scheduler(self) -> Collected[SchedulerFacts]:
        return self._states.of("scheduler")

    @property
    def leads(self) -> bool:
        """Whether this process reads for all."""
        return self._leading

    @property
    def mode(self) -> str:
        """What decides who leads, for people."""
        return self._leadership.mode

    async def run(self, stop: asyncio.Event) -> None:
        """Read now and at every interval, until `stop` is set. Cancelling it is as good."""
        try:
            while not stop.is_set():
                await self.collect()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_seconds()):
                        await stop.wait()
        finally:
            self._step_down()
            self.families.leader.clear()
            await self._database.close()

    async def collect(self) -> None:
        """One round. Never raises but when cancelled."""
        begun = self._clock.monotonic()
        try:
            async with asyncio.timeout(_ROUND_SECONDS):
                await self._round()
        except Exception as error:  # noqa: BLE001 - a periodic task: the next round is due all the same
            self._lose(error)
        else:
            lasting = all(is_lasting(self._states.of(name).problem) for name in self._problems())
            self._failures = 0 if lasting else self._failures + 1
        self._took_seconds = self._clock.monotonic() - begun
        self.families.leader.labels().set(self._leading)
        self._states.show_ages()

    async def _round(self) -> None:
        async with self._database.reading() as reading:
            # Apart from what is read for counting: a snapshot from before we led may be older than the checkpoint.
            await self._states.attempt("database", reading, lambda: self._server(reading))
            leads = await self._leadership.check(reading)
        if not leads:
            self._step_down()
            self._states.forget("database")
            return
        if not self._leading:
            await self._take_over()
        async with self._database.reading() as reading:
            await self._reader.read(reading)
        if not await self._save():
            self._step_down()
            self._states.forget("database")
            async with self._database.reading() as reading:
                await self._leadership.resign(reading)
            return
        await self._read_further()

    async def _read_further(self) -> None:
        """Apart, since it need not be of the same moment, and less often."""
        self._rounds_led += 1
        further = self._further
        if further is not None and self._rounds_led % _ROUNDS_PER_FURTHER_READING == 1:
            async with self._database.reading() as reading:
                await self._states.attempt("insights", reading, lambda: further.read(reading.connection))

    async def _server(self, reading: Reading) -> DatabaseFacts:
        begun = self._clock.monotonic()
        await reading.connection.execute("SELECT 1")
        latency = self._clock.monotonic() - begun
        row = await reading.row("server")
        return DatabaseFacts(
            latency_seconds=latency,
            server_version=row["version"],
            connections=row["connections"],
            max_connections=row["max_connections"],
            in_recovery=row["in_recovery"],
        )

    async def _take_over(self) -> None:
        try:
            checkpoint = await asyncio.to_thread(self._checkpoints.load)
        except ObservabilityError:
            # Then nothing can be saved either, and we go on from what we have. Once the store answers and has a
            # higher sequence, we step down and begin again there.
            self._count_internal_error("collector_checkpoint")
        else:
            self._resume(checkpoint)
        self._leading = True
        self._event("INFO", "this process reads the database for all", "collector_leader", mode=self.mode)

    def _resume(self, checkpoint: Checkpoint | None) -> None:
        self._sequence = 0
        counted = NO_NUMBERS
        self._reader.reset()
        if checkpoint is not None:
            self._sequence, counted = checkpoint.sequence, checkpoint.counted
            try:
                self._reader.load(checkpoint.state)
            except ValueError:
                self._count_internal_error("collector_checkpoint")
        restore_totals(self.families.cluster_counters, counted)

    async def _save(self) -> bool:
        """Whether we still lead, as far as the store knows."""
        self._sequence += 1
        checkpoint = Checkpoint(self._sequence, self._reader.dump(), self._numbers.read())
        try:
            return await asyncio.to_thread(self._checkpoints.save, checkpoint)
        except ObservabilityError:
            self._count_internal_error("collector_checkpoint")
            return True

    def _step_down(self) -> None:
        if self._leading:
            self._leading = False
            self._rounds_led = 0
            self.families.clear_gauges()
            if self._further is not None:
                self._further.clear()
            self._event("INFO", "this process reads the database for all no more", "collector_follower")

    def _lose(self, error: Exception) -> None:
        """The connection is of no use any more, and with it goes what was known."""
        led = self._leading
        self._database.drop()
        self._leadership.lose()
        self._step_down()
        self._failures += 1
        problem = self._states.failed("database", error)
        if led:
            for name in LEADERS:
                self._states.note(name, problem)

    def _problems(self) -> list[str]:
        return [name for name in self._states.names() if self._states.of(name).problem is not None]

    def _pause_seconds(self) -> float:
        """The interval, longer when reading takes long or fails again and again, give or take a tenth."""
        longest = max(_LONGEST_PAUSE_SECONDS, self._interval_seconds)
        patient = self._interval_seconds * 2.0 ** min(max(self._failures - 1, 0), 16)
        pause = min(max(patient, self._took_seconds / _BUSY_SHARE), longest)
        return spread(pause)
