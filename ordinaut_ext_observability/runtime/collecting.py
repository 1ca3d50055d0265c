"""The collectors of this process: what they count into, the thread they run on, and what of it health checks see."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ordinaut_ext_observability.background.clock import Clock, monotonic_seconds
from ordinaut_ext_observability.background.daemon_threads import STOP_SECONDS, join_until, run_on_own_loop
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.collectors.facts import UNREAD, Collected, Problem, RedisFacts
from ordinaut_ext_observability.collectors.redis_definitions import RedisMetrics
from ordinaut_ext_observability.db.insight_metrics import InsightMetrics
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.postgresql.url import asyncpg_url
from ordinaut_ext_observability.relay.store import Stores
from ordinaut_ext_observability.runtime.collected_checks import (
    ReadElsewhere,
    Reckoning,
    register_database_checks,
    register_redis_check,
)
from ordinaut_ext_observability.settings.parts import CollectorSettings

if TYPE_CHECKING:
    import asyncpg

    from ordinaut_ext_observability.collectors.collector import SystemCollector
    from ordinaut_ext_observability.collectors.redis_server import RedisCollector

_GIVING_UP_SECONDS = 0.1
"""How long before the end of a stop what is still being read is given up, and the connection closed."""

_LONGEST_INTERVAL_SECONDS = 15.0
"""Between looks at the server, where the interval is shorter and something fails or takes long."""

_INTERVALS = 4
_SLACK_SECONDS = 30.0
"""A reading is too old after so many intervals and this."""


class Collecting:
    """Reads PostgreSQL and Redis in the background, on a thread and an event loop of its own."""

    def __init__(
        self,
        settings: CollectorSettings,
        redis_url: str | None,
        metrics: Metrics,
        registry: Registry,
        clock: Clock,
        *,
        event: events.LogEvent,
        open_stores: Callable[[], Stores] | None,
    ) -> None:
        """`registry` is what facts are shown in. With `open_stores`, what is counted for all is published there."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._event = event
        self._open_stores = open_stores
        self._database_url = self._usable_database_url()
        self._redis_url = redis_url
        # Known before there is anything to read them with: that imports the drivers, and is left to the thread.
        self._system_metrics = SystemMetrics(registry) if self._database_url is not None else None
        self._redis_metrics = RedisMetrics(registry) if redis_url is not None else None
        self._insights = _Insights(registry) if self._database_url is not None else None
        self._abandoned: list[object] = []
        self._reset()
        reset_in_forked_child(self)

    def _reset(self) -> None:
        self.system: SystemCollector | None = None
        """Made in the thread, as the next one."""
        self.redis: RedisCollector | None = None
        self._unusable_redis = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._running: asyncio.Future[list[None]] | None = None

    def reset_after_fork(self) -> None:
        """In a forked child: nothing runs, and what is made next is new."""
        # Kept, for what is thrown away closes itself: it would take the parent's sockets out of the parent's loop.
        self._abandoned.append((self.system, self.redis, self._thread, self._loop, self._stop))
        self._reset()

    @property
    def shared_families(self) -> list[AnyFamily]:
        """What is counted for all: shown from the relay store, not from this process."""
        return list(self._system_metrics.cluster_counters) if self._system_metrics is not None else []

    def note(self) -> str:
        """What is read, and who reads for all, for people."""
        urls = (("PostgreSQL", self._database_url), ("Redis", self._redis_url))
        read = ", ".join(name for name, url in urls if url is not None)
        if self._database_url is None:
            return read or "off: no URL that can be read"
        system = self.system
        if system is None:
            return f"{read}; not connected yet"
        who = "this process reads for all" if system.leads else "another process reads for all, or nobody"
        return f"{read}; {who}; leadership: {system.mode}"

    def register_checks(
        self, monitor: HealthMonitor, *, required: bool, read_elsewhere: ReadElsewhere | None = None
    ) -> None:
        """Have health tell what the collectors see; `required`: without the database the host is not ready."""
        if self._database_url is not None:
            register_database_checks(
                monitor, lambda: self.system, self._reckon, required=required, read_elsewhere=read_elsewhere
            )
        if self._redis_url is not None:
            register_redis_check(monitor, self._redis_state, self._reckon)

    def start(self) -> None:
        """Begin. Starting again does nothing."""
        if self._thread is None and (self._database_url is not None or self._redis_url is not None):
            self._stop = asyncio.Event()
            self._thread = threading.Thread(target=self._run, name="observability-collectors", daemon=True)
            self._thread.start()

    def begin_stop(self) -> None:
        """Have the thread end soon. Safe without `start`, and more than once."""
        self._on_loop(self._stop.set)

    def stop(self, ends_at: float | None = None) -> None:
        """End until then, on `monotonic_seconds`. Safe without `start`, and more than once."""
        self.begin_stop()
        if self._thread is not None:
            ends_at = monotonic_seconds() + STOP_SECONDS if ends_at is None else ends_at
            join_until(self._thread, ends_at - _GIVING_UP_SECONDS)
            self._on_loop(self._cancel)
            join_until(self._thread, ends_at)
        self._thread = self._loop = None

    def _on_loop(self, call: Callable[[], None]) -> None:
        if self._loop is None:
            call()  # the thread has not begun yet: it finds everything as it is left here
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
            self._loop.call_soon_threadsafe(call)

    def _run(self) -> None:
        try:
            try:
                run_on_own_loop(self._collect())
            finally:
                # Not before: a call to a store that hangs may have outlasted what waited for it.
                if self.system is not None and self.system.checkpoints is not None:
                    self.system.checkpoints.close()
        except Exception:  # noqa: BLE001 - a thread of ours ends; the host goes on
            self._metrics.count_internal_error("collectors")

    async def _collect(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.system = self.system or self._make_system()
        self.redis = self.redis or self._make_redis()
        collectors = [collector.run(self._stop) for collector in (self.system, self.redis) if collector is not None]
        running = self._running = asyncio.gather(*collectors)
        with contextlib.suppress(asyncio.CancelledError):  # by `stop`: a server hangs
            await running

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _reckon(self) -> Reckoning:
        now = self._clock.monotonic()
        interval = max(self._settings.interval_seconds, _LONGEST_INTERVAL_SECONDS)
        return Reckoning(now, _INTERVALS * interval + _SLACK_SECONDS)

    def _redis_state(self) -> Collected[RedisFacts]:
        if self._unusable_redis:
            return Collected(None, None, Problem.FAILED)
        return self.redis.state if self.redis is not None else UNREAD

    def _usable_database_url(self) -> str | None:
        """The URL if it is one of PostgreSQL's."""
        if self._settings.database_url is None:
            return None
        url = self._settings.database_url.get_secret_value()
        try:
            asyncpg_url(url)
        except ValueError as error:
            self._event(events.DATABASE_NOT_READ, reason=str(error))
            return None
        return url

    def _make_system(self) -> SystemCollector | None:
        if self._database_url is None:
            return None
        from ordinaut_ext_observability.collectors.collector import SystemCollector

        return SystemCollector(
            self._database_url,
            self._metrics,
            self._clock,
            interval_seconds=self._settings.interval_seconds,
            event=self._event,
            open_stores=self._open_stores,
            fresh_seconds=self._settings.heartbeat_fresh_seconds,
            further=self._insights,
            families=self._system_metrics,
        )

    def _make_redis(self) -> RedisCollector | None:
        if self._redis_url is None:
            return None
        from ordinaut_ext_observability.collectors.redis_server import RedisCollector

        families = self._system_metrics
        try:
            return RedisCollector(
                self._redis_url,
                self._metrics,
                self._clock,
                interval_seconds=self._settings.interval_seconds,
                event=self._event,
                on_problem=(lambda reason: families.errors.labels("redis", reason).inc())
                if families is not None
                else (lambda _: None),
                families=self._redis_metrics,
            )
        except ValueError as error:
            self._unusable_redis = True
            self._event(events.REDIS_NOT_READ, reason=str(error))
            return None


class _Insights:
    """What PostgreSQL tells about itself."""

    def __init__(self, registry: Registry) -> None:
        self._families = InsightMetrics(registry)

    async def read(self, connection: asyncpg.Connection[asyncpg.Record]) -> Mapping[str, str]:
        from ordinaut_ext_observability.db.insights.collect import collect_insights

        insights = await collect_insights(connection)
        self._families.update(insights)
        return {problem.part: problem.reason for problem in insights.problems}

    def clear(self) -> None:
        self._families.clear()
