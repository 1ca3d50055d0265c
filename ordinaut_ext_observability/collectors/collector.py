"""The collectors of PostgreSQL as one periodic task: connect, see who leads, read, save."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import NamedTuple

from ordinaut_ext_observability.background.tasks import LONGEST_PAUSE_SECONDS, backed_off
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.collectors.connection import Database, ReadTransaction
from ordinaut_ext_observability.collectors.leadership import Checkpoints, decide_leader
from ordinaut_ext_observability.collectors.reader import CHECKPOINT, LEADERS, UNREADABLE, CountingState, SystemReader
from ordinaut_ext_observability.collectors.states import LOOK_SECONDS, NOT_CONNECTED, CollectorStates
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.postgresql.connection import postgresql_problem

_ROUND_SECONDS = 20.0
"""Longest time that a round takes, whatever hangs."""

_ROUNDS_PER_EXTRA_QUERY = 4
"""The extra query reads statistics of all tables: at the usual interval once a minute."""

_LASTING = frozenset({None, Problem.NO_PERMISSION, Problem.MISSING_TABLE})
"""Asking less often would not help: somebody has to grant or make something."""

_BUSY_SHARE = 0.1
"""Share of the time that may be spent reading: where a reading takes long, it is asked less often."""


class ExtraQuery(NamedTuple):
    """Another thing that the leader reads now and then, on the collectors' connection."""

    read: Callable[[ReadTransaction, SystemMetrics], Awaitable[Mapping[str, str]]]
    """Every statement has limits. Returns the parts that failed, each with a reason."""
    clear: Callable[[], None]
    """Called when another process leads now, or nothing could be read: what was read before is not shown."""


def reading_pause(interval_seconds: float, failures: int, took_seconds: float) -> float:
    """Seconds until the leader reads again: longer when reading takes long or fails again and again."""
    longest = max(LONGEST_PAUSE_SECONDS, interval_seconds)
    return max(backed_off(interval_seconds, failures), min(took_seconds / _BUSY_SHARE, longest))


@dataclass(eq=False)
class SystemCollector:
    """Reads the host's database, until `close`: then nothing of it is left, neither connection nor gauge.

    It connects at the first round. Making it raises ValueError where the URL cannot be read.
    """

    url: InitVar[str]
    families: SystemMetrics
    states: CollectorStates
    _: KW_ONLY
    interval_seconds: float
    heartbeat_fresh_seconds: float = 75.0
    """Age of the last heartbeat up to which a worker counts as active."""
    checkpoints: Checkpoints | None = None
    """Without them, state and counts are this process's alone."""
    extra: ExtraQuery | None = None

    def __post_init__(self, url: str) -> None:
        self._database = Database(url)
        self._reader = SystemReader(self.families, self.states, self.heartbeat_fresh_seconds)
        self._rounds_led = self._failures = 0
        self._due = 0.0
        """When the leader reads next, on the monotonic clock."""

    async def collect(self) -> float:
        """Do one round, and return the seconds until the next. Never raises but when cancelled.

        Between readings that are further apart, the server is looked at.
        """
        try:
            async with asyncio.timeout(_ROUND_SECONDS):
                await self._round()
            pause = max(0.0, self._due - self.states.clock.monotonic())
        except Exception as error:  # noqa: BLE001 - a periodic task: the next round is due all the same
            self._lose(error)
            pause = backed_off(self.interval_seconds, self._failures)
        self.families.leader.labels().set(self.states.leads)
        self.states.show_ages()
        # To connect again costs little, and whether the host is ready depends on it: that is not put off for long.
        return min(pause, max(LOOK_SECONDS, self.interval_seconds))

    async def close(self) -> None:
        """End the connection, and show nothing any more. The next round begins anew."""
        self._step_down()
        self.families.leader.clear()
        if self.checkpoints is not None:
            self.checkpoints.close()
        await self._database.close()

    async def _round(self) -> None:
        # As long as two rounds and a half may take, so that a leader that is late keeps its lease.
        lease_seconds = 2.5 * self.interval_seconds + _ROUND_SECONDS
        async with self._database.transaction() as transaction:
            # Apart from what is read for counting: a snapshot from before we led may be older than the checkpoint.
            await self._reader.attempt("database", transaction, self._reader.read_server)
            leads, self.states.mode = await decide_leader(transaction, self.checkpoints, lease_seconds)
        if not leads:
            self._follow()
        elif not self.states.leads or self.states.clock.monotonic() >= self._due:
            await self._lead()

    async def _lead(self) -> None:
        clock = self.states.clock
        if not self.states.leads:
            await self._take_over()
        begun = clock.monotonic()
        async with self._database.transaction() as transaction:
            await self._reader.read(transaction)
        took = clock.monotonic() - begun
        if not await self._save():
            self._follow()
            return
        self._rounds_led += 1
        if self.extra is not None and self._rounds_led % _ROUNDS_PER_EXTRA_QUERY == 1:
            await self._read_extra(self.extra)
        problems = {self.states.of(name).problem for name in ("database", *LEADERS, "insights")}
        self._failures = self._failures + 1 if problems - _LASTING else 0
        self._due = clock.monotonic() + reading_pause(self.interval_seconds, self._failures, took)

    async def _read_extra(self, extra: ExtraQuery) -> None:
        async with self._database.transaction() as transaction:  # another: it need not be of the same moment
            problems = await self._reader.attempt("insights", transaction, extra.read)
        if problems is None:
            extra.clear()
        else:
            self.states.failed_in_part("insights", problems)

    async def _take_over(self) -> None:
        if self.checkpoints is not None:
            try:
                state = await asyncio.to_thread(self.checkpoints.load)
                if state is not None:
                    self._reader.counting = CountingState()
                if state:
                    self._reader.counting = CHECKPOINT.validate_json(state)
            except ClusterUnavailableError:
                # Then nothing can be saved either, and we go on from what we have. Once the store answers and another
                # has saved since, we step down and begin again there.
                self._count_store_problem()
            except UNREADABLE:
                self.states.count_internal_error("collector_checkpoint")
        self.states.leads = True
        self.states.event(events.COLLECTOR_LEADER, mode=self.states.mode)

    async def _save(self) -> bool:
        """Save; False where another process has taken over."""
        if self.checkpoints is None:
            return True
        try:
            return await asyncio.to_thread(self.checkpoints.save, CHECKPOINT.dump_json(self._reader.counting))
        except ClusterUnavailableError:
            self._count_store_problem()
            return True

    def _count_store_problem(self) -> None:
        self.families.errors.labels("checkpoint", Problem.UNREACHABLE.value).inc()

    def _follow(self) -> None:
        self._step_down()
        self.states.discard("database", "redis")
        self._failures = 0
        self._due = self.states.clock.monotonic() + self.interval_seconds

    def _step_down(self) -> None:
        if self.states.leads:
            self.states.leads = False
            self._rounds_led = 0
            self.families.clear_gauges()
            if self.extra is not None:
                self.extra.clear()
            self.states.event(events.COLLECTOR_FOLLOWER)

    def _lose(self, error: Exception) -> None:
        """The connection is of no use any more, and with it goes what was known."""
        led = self.states.leads
        self._database.drop()
        self.states.mode = NOT_CONNECTED
        self._step_down()
        self._failures += 1
        problem = postgresql_problem(error)
        self.states.failed("database", error, problem)
        if led:
            self.states.lost(LEADERS, problem)
