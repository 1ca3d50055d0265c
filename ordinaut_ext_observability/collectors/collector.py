"""The collectors of PostgreSQL as one periodic task: connect, see who leads, read, save."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import asyncpg

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.jitter import spread
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.collectors.checkpoint import Checkpoints
from ordinaut_ext_observability.collectors.connection import Database, Limits, Reading
from ordinaut_ext_observability.collectors.facts import (
    Collected,
    DatabaseFacts,
    Problem,
    QueueFacts,
    SchedulerFacts,
    WorkerFacts,
)
from ordinaut_ext_observability.collectors.identity import DatabaseIdentity
from ordinaut_ext_observability.collectors.leadership import Leadership
from ordinaut_ext_observability.collectors.problems import is_lasting
from ordinaut_ext_observability.collectors.reader import LEADERS, SystemReader
from ordinaut_ext_observability.collectors.states import States
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.relay.store import Stores

FRESH_SECONDS = 75.0
"""Twice the interval of the host's heartbeats, and some slack."""

_ROUND_SECONDS = 20.0
"""Longest time that a round takes, whatever hangs."""

_LONGEST_PAUSE_SECONDS = 60.0
_LOOK_SECONDS = 15.0
"""How often the server is looked at where readings are less often: readiness depends on it, and it costs little."""

_ROUNDS_PER_FURTHER_READING = 4

_BUSY_SHARE = 0.1
"""Of the time a collector may spend reading; one that takes longer asks less often."""


class FurtherReading(Protocol):
    """What else the leader reads now and then, on the collectors' connection."""

    async def read(self, connection: asyncpg.Connection[asyncpg.Record]) -> Mapping[str, str]:
        """Read, in a transaction with limits on every statement; the parts that could not be read, each with a reason.

        Raises what asyncpg raises.
        """

    def clear(self) -> None:
        """Another process leads now, or nothing could be read: what was read before is not shown."""


class SystemCollector:
    """Reads the host's database until it is told to stop; then nothing of it is left, neither connection nor gauge."""

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        clock: Clock,
        *,
        interval_seconds: float,
        event: events.LogEvent,
        open_stores: Callable[[], Stores] | None = None,
        fresh_seconds: float = FRESH_SECONDS,
        limits: Limits | None = None,
        further: FurtherReading | None = None,
        families: SystemMetrics | None = None,
    ) -> None:
        """Connects at the first round. Without `open_stores`, state and counts are this process's alone.

        `families` are of `metrics`; left out, they are made.

        Raises:
            ValueError: the URL cannot be read.
        """
        self.families = families or SystemMetrics(metrics.registry)
        self._database = Database(url, limits)
        self._clock = clock
        self._event = event
        self.checkpoints = (
            Checkpoints(open_stores, lambda: self.families.cluster_counters, metrics)
            if open_stores is not None
            else None
        )
        """To be closed by who ends the collector's thread."""
        self._count_internal_error = metrics.count_internal_error
        self._states = States(self.families, clock, event, metrics.count_internal_error)
        self._reader = SystemReader(self.families, self._states, fresh_seconds=fresh_seconds)
        self._identity = DatabaseIdentity(self.families.database_info)
        # As long as two rounds and a half may take, so that a leader that is late keeps its lease.
        self._leadership = Leadership(
            uuid.uuid4().hex, self.checkpoints, ttl_seconds=2.5 * interval_seconds + _ROUND_SECONDS
        )
        self._interval_seconds = interval_seconds
        self._further = further
        self._rounds_led = 0
        self.leads = False
        """Set while this process reads for all."""
        self._failures = 0
        self._answered = True
        """Whether the server did in the last round, whatever came after."""
        self._due: float | None = None
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
    def mode(self) -> str:
        """What decides who leads, for people."""
        return self._leadership.mode

    async def run(self, stop: asyncio.Event) -> None:
        """Read now and at every interval, until `stop` is set. Cancelling it is as good.

        Between readings that are further apart, the server is looked at.
        """
        try:
            while not stop.is_set():
                if self._due is None or self._clock.monotonic() >= self._due:
                    await self.collect()
                else:
                    await self.look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._wait_seconds()):
                        await stop.wait()
        finally:
            self._due = None
            self._step_down()
            self.families.leader.clear()
            await self._database.close()

    async def collect(self) -> None:
        """One round. Never raises but when cancelled."""
        begun = self._clock.monotonic()
        if await self._try(self._round):
            lasting = all(is_lasting(self._states.of(name).problem) for name in self._problems())
            self._failures = 0 if lasting else self._failures + 1
        now = self._clock.monotonic()
        self._took_seconds = now - begun
        self._due = now + self._pause_seconds()
        self.families.leader.labels().set(self.leads)
        self._states.show_ages()

    async def look(self) -> None:
        """See whether the server answers. Never raises but when cancelled."""
        if not await self._try(self._look):
            # Not as late as the next round was to be: what made that late is over.
            self._due = self._clock.monotonic() + self._pause_seconds()
            self.families.leader.labels().set(self.leads)
        self._states.show_ages()

    async def _try(self, work: Callable[[], Awaitable[None]]) -> bool:
        self._answered = False
        try:
            async with asyncio.timeout(_ROUND_SECONDS):
                await work()
        except Exception as error:  # noqa: BLE001 - a periodic task: the next round is due all the same
            self._lose(error)
            return False
        return True

    async def _look(self) -> None:
        async with self._database.reading() as reading:
            await self._read_server(reading)

    async def _read_server(self, reading: Reading) -> None:
        await self._states.attempt("database", reading, lambda: self._server(reading))
        self._answered = True
        await self._identity.read(reading)

    async def _round(self) -> None:
        async with self._database.reading() as reading:
            # Apart from what is read for counting: a snapshot from before we led may be older than the checkpoint.
            await self._read_server(reading)
            leads = await self._leadership.check(reading)
        if not leads:
            self._step_down()
            self._states.forget("database")
            return
        if not self.leads:
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
                problems = await self._states.attempt("insights", reading, lambda: further.read(reading.connection))
            if problems is None:
                further.clear()
            else:
                self._states.note_parts("insights", problems)

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
        if self.checkpoints is not None:
            try:
                state = await asyncio.to_thread(self.checkpoints.load)
            except ClusterUnavailableError:
                # Then nothing can be saved either, and we go on from what we have. Once the store answers and another
                # has saved since, we step down and begin again there.
                self.families.errors.labels("checkpoint", Problem.UNREACHABLE.value).inc()
            else:
                self._resume(state)
        self.leads = True
        self._event(events.COLLECTOR_LEADER, mode=self.mode)

    def _resume(self, state: bytes | None) -> None:
        """Go on from this state, or from what this process has where it is None."""
        if state is None:
            return
        self._reader.reset()
        if state:
            try:
                self._reader.load(state)
            except ValueError:
                self._count_internal_error("collector_checkpoint")

    async def _save(self) -> bool:
        """Save; False where another process has taken over."""
        if self.checkpoints is None:
            return True
        try:
            return await asyncio.to_thread(self.checkpoints.save, self._reader.dump())
        except ClusterUnavailableError:
            self.families.errors.labels("checkpoint", Problem.UNREACHABLE.value).inc()
            return True

    def _step_down(self) -> None:
        if self.leads:
            self.leads = False
            self._rounds_led = 0
            self.families.clear_gauges()
            if self._further is not None:
                self._further.clear()
            self._event(events.COLLECTOR_FOLLOWER)

    def _lose(self, error: Exception) -> None:
        """The connection is of no use any more, and with it goes what was known."""
        led = self.leads
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
        """The interval, longer when reading takes long or fails again and again, give or take a tenth.

        To connect again costs little, and whether the host is ready depends on it: that is not put off for long.
        """
        longest = max(_LONGEST_PAUSE_SECONDS if self._answered else _LOOK_SECONDS, self._interval_seconds)
        patient = self._interval_seconds * 2.0 ** min(max(self._failures - 1, 0), 16)
        busy = self._took_seconds / _BUSY_SHARE if self._answered else 0.0
        return spread(min(max(patient, busy), longest))

    def _wait_seconds(self) -> float:
        """Until the next round, or until the server is looked at before that."""
        due = self._due if self._due is not None else 0.0
        return min(max(0.0, due - self._clock.monotonic()), max(_LOOK_SECONDS, self._interval_seconds))
