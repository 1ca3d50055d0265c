"""The collectors of this process: what they count into, the thread they run on, and what of it health checks see."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ordinaut_ext_observability.clock import Clock
from ordinaut_ext_observability.collectors.checkpoint import Checkpoint, CheckpointStore, MemoryCheckpoints
from ordinaut_ext_observability.fork import forget_after_fork
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.relay.base import RelayStore
from ordinaut_ext_observability.relay.shared import SharedCounts, SharedCountsStore
from ordinaut_ext_observability.runtime.collected_checks import register_database_checks, register_redis_check
from ordinaut_ext_observability.setting_parts import CollectorSettings

if TYPE_CHECKING:
    import asyncpg

    from ordinaut_ext_observability.collectors.collector import SystemCollector
    from ordinaut_ext_observability.collectors.redis_server import RedisCollector

_STOP_SECONDS = 3.0

OpenStore = Callable[[], RelayStore | None]


class Collecting:
    """Reads PostgreSQL and Redis in the background, on a thread and an event loop of its own."""

    def __init__(
        self,
        settings: CollectorSettings,
        redis_url: str | None,
        metrics: Metrics,
        clock: Clock,
        *,
        event: Callable[..., None],
        open_store: OpenStore | None,
        runs_reported: Callable[[], bool],
    ) -> None:
        """`metrics` is what is counted into. With `open_store`, what is counted for all is kept in a relay store.

        `runs_reported` says whether the processes that run tasks count their runs themselves.
        """
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._event = event
        self._open_store = open_store
        self._runs_reported = runs_reported
        self._reset()
        self.system = self._make_system()
        self.redis = self._make_redis(redis_url)
        forget_after_fork(self)

    def _reset(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def forget(self) -> None:
        """In a forked child: nothing runs."""
        self._reset()

    @property
    def shared_families(self) -> list[AnyFamily]:
        """What is counted for all: shown from the relay store, not from this process."""
        return list(self.system.families.cluster_counters) if self.system is not None else []

    def note(self) -> str:
        """What is read, and who reads for all, for people."""
        read = [name for name, source in (("PostgreSQL", self.system), ("Redis", self.redis)) if source is not None]
        if self.system is None:
            return ", ".join(read) or "off: no URL that can be read"
        who = "this process reads for all" if self.system.leads else "another process reads for all, or nobody"
        return f"{', '.join(read)}; {who}; leadership: {self.system.mode}"

    def register_checks(self, monitor: HealthMonitor, *, required: bool) -> None:
        """Have health tell what the collectors see; `required`: without the database the host is not ready."""
        if self.system is not None:
            register_database_checks(monitor, self.system, self._clock, required=required)
        if self.redis is not None:
            register_redis_check(monitor, self.redis, self._clock)

    def start(self) -> None:
        """Begin. Starting again does nothing."""
        if self._thread is None and (self.system is not None or self.redis is not None):
            self._stop = asyncio.Event()
            self._thread = threading.Thread(target=self._run, name="observability-collectors", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, within seconds. Safe without `start`, and more than once."""
        thread, loop = self._thread, self._loop
        if thread is None:
            return
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
                loop.call_soon_threadsafe(self._stop.set)
        thread.join(_STOP_SECONDS)
        self._thread = self._loop = None

    def _run(self) -> None:
        try:
            asyncio.run(self._collect())
        except Exception:  # noqa: BLE001 - a thread of ours ends; the host goes on
            self._metrics.count_internal_error("collectors")

    async def _collect(self) -> None:
        self._loop = asyncio.get_running_loop()
        collectors = [collector.run(self._stop) for collector in (self.system, self.redis) if collector is not None]
        await asyncio.gather(*collectors)

    def _make_system(self) -> SystemCollector | None:
        url = self._settings.database_url
        if url is None:
            return None
        from ordinaut_ext_observability.collectors.collector import SystemCollector

        checkpoints: CheckpointStore = MemoryCheckpoints()
        lease = None
        if self._open_store is not None:
            checkpoints, lease = _RelayCheckpoints(self._open_store), _RelayLease(self._open_store)
        try:
            return SystemCollector(
                url.get_secret_value(),
                self._metrics,
                self._clock,
                interval_seconds=self._settings.collector_interval_seconds,
                checkpoint=checkpoints,
                lease=lease,
                event=self._event,
                fresh_seconds=self._settings.heartbeat_fresh_seconds,
                runs_reported=self._runs_reported,
                further=_Insights(self._metrics),
            )
        except ValueError as error:
            self._event("WARNING", "database not read", "collector", reason=str(error))
            return None

    def _make_redis(self, url: str | None) -> RedisCollector | None:
        if url is None:
            return None
        from ordinaut_ext_observability.collectors.redis_server import RedisCollector

        families = self.system.families if self.system is not None else None
        try:
            return RedisCollector(
                url,
                self._metrics,
                self._clock,
                interval_seconds=self._settings.collector_interval_seconds,
                event=self._event,
                on_problem=(lambda reason: families.errors.labels("redis", reason).inc())
                if families is not None
                else (lambda _: None),
            )
        except ValueError as error:
            self._event("WARNING", "Redis not read", "collector", reason=str(error))
            return None


class _Insights:
    """What PostgreSQL tells about itself."""

    def __init__(self, metrics: Metrics) -> None:
        from ordinaut_ext_observability.db.insight_metrics import InsightMetrics

        self._families = InsightMetrics(metrics)

    async def read(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        from ordinaut_ext_observability.db.insights.collect import collect_insights

        self._families.update(await collect_insights(connection))

    def clear(self) -> None:
        self._families.clear()


class _RelayCheckpoints:
    """The collectors' checkpoint in the relay store, where all API processes show its totals."""

    def __init__(self, open_store: OpenStore) -> None:
        self._shared = SharedCountsStore(open_store)

    def load(self) -> Checkpoint | None:
        shared = self._shared.load()
        return Checkpoint(shared.sequence, shared.state, shared.counts) if shared is not None else None

    def save(self, checkpoint: Checkpoint) -> bool:
        return self._shared.save(SharedCounts(checkpoint.sequence, checkpoint.counted, checkpoint.state))


class _RelayLease:
    """Leadership by a lease in the relay store."""

    def __init__(self, open_store: OpenStore) -> None:
        self._open_store = open_store
        self._store: RelayStore | None = None

    def acquire(self, owner: str, ttl_seconds: float) -> bool:
        self._store = self._store or self._open_store()
        return self._store is not None and self._store.hold_lease(owner, ttl_seconds)
