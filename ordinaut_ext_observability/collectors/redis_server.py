"""The Redis server: what it answers to a handful of cheap questions, at an interval, on a connection of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from redis import exceptions

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.jitter import spread
from ordinaut_ext_observability.collectors.facts import UNREAD, Collected, Problem, RedisFacts
from ordinaut_ext_observability.collectors.redis_connection import RedisConnection, problem_of
from ordinaut_ext_observability.collectors.redis_definitions import RedisMetrics
from ordinaut_ext_observability.collectors.redis_reading import read_server
from ordinaut_ext_observability.collectors.redis_streams import StreamNames
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.definitions import Metrics

_READING_SECONDS = 3.0
"""Longest time that all questions of a round take together."""

_LONGEST_PAUSE_SECONDS = 60.0
_SEARCH_INTERVAL_SECONDS = 60.0


class RedisCollector:
    """Reads the server until it is told to stop; then nothing of it is left, neither a connection nor a gauge."""

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        clock: Clock,
        *,
        interval_seconds: float,
        event: events.LogEvent,
        on_problem: Callable[[str], None] = lambda _: None,
        families: RedisMetrics | None = None,
    ) -> None:
        """Connects at the first reading; `on_problem` is told the reason of each that failed, even in part.

        `families` are of `metrics`; left out, they are made.

        Raises:
            ValueError: the URL cannot be read.
        """
        self.state: Collected[RedisFacts] = UNREAD
        self._connection = RedisConnection(url)
        self._families = families or RedisMetrics(metrics.registry)
        self._count_internal_error = metrics.count_internal_error
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._event = event
        self._on_problem = on_problem
        self._streams = StreamNames()
        self._searched_at: float | None = None
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Read now and at every interval, until `stop` is set. Cancelling it is as good."""
        try:
            while not stop.is_set():
                await self.collect()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_seconds()):
                        await stop.wait()
        finally:
            self._families.clear()
            await self._connection.drop()

    async def collect(self) -> None:
        """Read once. Never raises but when cancelled."""
        try:
            async with asyncio.timeout(_READING_SECONDS):
                facts, partial_problem = await self._read()
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            await self._connection.drop()
            self._families.show_absence()
            self._note(problem_of(error), self.state.facts, self.state.collected_at)
        except Exception:  # noqa: BLE001 - a periodic task: the next round is due all the same
            await self._connection.drop()
            self._families.show_absence()
            self._count_internal_error("redis_collector")
            self._note(Problem.FAILED, self.state.facts, self.state.collected_at)
        else:
            self._note(partial_problem, facts, self._clock.monotonic())

    async def _read(self) -> tuple[RedisFacts, Problem | None]:
        client = await self._connection.client()
        now = self._clock.monotonic()
        due = self._searched_at is None or now - self._searched_at >= _SEARCH_INTERVAL_SECONDS
        reading = await read_server(client, self._clock, self._streams, search=due)
        if due:
            self._searched_at = now
        self._families.show(reading)
        return reading.facts, reading.problem

    def _note(self, problem: Problem | None, facts: RedisFacts | None, collected_at: float | None) -> None:
        before = self.state.problem
        self.state = Collected(facts, collected_at, problem)
        # What may not be read stays so: that is no reason to ask less often.
        unread = problem is not None and problem is not Problem.NO_PERMISSION
        self._failures = self._failures + 1 if unread else 0
        if problem is not None:
            self._on_problem(problem.value)
        if problem is before:
            return
        if problem is None:
            self._event(events.REDIS_RECOVERED, collector="redis")
        else:
            self._event(events.REDIS_PROBLEM, collector="redis", reason=problem.value)

    def _pause_seconds(self) -> float:
        """The interval, doubled with every failure in a row up to a minute, give or take a tenth."""
        longest = max(_LONGEST_PAUSE_SECONDS, self._interval_seconds)
        pause = min(self._interval_seconds * 2.0 ** min(max(self._failures - 1, 0), 16), longest)
        return spread(pause)
