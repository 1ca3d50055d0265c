"""The part of a process that reads PostgreSQL and Redis: its thread, what it counts into, and its checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask
from ordinaut_ext_observability.collectors.checks import CollectedChecks, ReadElsewhere, checks_of
from ordinaut_ext_observability.collectors.facts import UNREAD
from ordinaut_ext_observability.collectors.states import CollectorStates
from ordinaut_ext_observability.db.insight_metrics import InsightMetrics
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.health.model import HealthStatus, Outcome, unknown
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics, SystemMetrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.store import RelayStore
from ordinaut_ext_observability.runtime.relay import MergedProcesses
from ordinaut_ext_observability.runtime.store import usable_redis_url
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.settings.parts import CollectorSettings

if TYPE_CHECKING:  # importing it takes the driver
    from ordinaut_ext_observability.collectors.connection import ReadTransaction

_LONGEST_INTERVAL_SECONDS = 15.0
"""Between looks at the server, where the interval is shorter and something fails or takes long."""

_INTERVALS = 4
_SLACK_SECONDS = 30.0
"""A reading is too old after so many intervals and this."""


class Collectors:
    """The part that reads PostgreSQL and Redis, in a process that serves an application."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        monitor: HealthMonitor,
        merged: MergedProcesses,
        event: events.LogEvent,
    ) -> None:
        """No driver is imported, and no metric is there, before the start of a process that serves."""
        self._settings = settings
        self._monitor = monitor
        self._merged = merged
        self._make = partial(CollectorThread, metrics=metrics, clock=clock, event=event)
        self._redis_url = usable_redis_url(settings.relay)
        self.thread: CollectorThread | None = None
        self.database_required = False
        """True where the host is not ready without its database. Set it before the start."""

    @property
    def reads_queue(self) -> bool:
        """True where queue and workers are read from PostgreSQL for all: then no worker need say how they are."""
        settings = self._settings.collectors
        return self._merged.relay is not None and settings.enabled and settings.database_url is not None

    def not_configured(self) -> Iterator[str]:
        """Yield the checks there are not, for want of a URL or a store."""
        if self._settings.collectors.database_url is None:
            yield from checks_of("PostgreSQL")
        if self._redis_url is None:
            yield from checks_of("Redis")
        if self._merged.relay is None:
            yield "relay"

    def start(self, *, serves: bool) -> None:
        """Begin to read, where there is something to read and an application to serve."""
        settings = self._settings.collectors
        if not serves or not settings.enabled or (settings.database_url is None and self._redis_url is None):
            return
        if self.thread is None:
            merged = self._merged
            thread = self.thread = self._make(
                settings, self._redis_url, registry=merged.collected, open_stores=merged.open_store
            )
            if merged.relay is not None:
                merged.relay.exchange.shown_only = thread.shared_families
            read_elsewhere = merged.seconds_since_read if merged.relay is not None else None
            thread.register_checks(self._monitor, required=self.database_required, read_elsewhere=read_elsewhere)
        self.thread.start()

    def begin_stop(self) -> None:
        """Have the thread end soon."""
        if self.thread is not None:
            self.thread.begin_stop()

    def stop(self, ends_at: float) -> None:
        """End until then, on `monotonic_seconds`."""
        if self.thread is not None:
            self.thread.stop(ends_at)

    def notes(self) -> dict[str, str]:
        """The servers that are read, and by whom."""
        return {"collectors": self.thread.note() if self.thread is not None else "off"}


class CollectorThread(BackgroundThread):
    """Reads PostgreSQL and Redis on a thread and an event loop of its own."""

    def __init__(
        self,
        settings: CollectorSettings,
        redis_url: str | None,
        metrics: Metrics,
        registry: Registry,
        clock: Clock,
        *,
        event: events.LogEvent,
        open_stores: Callable[[], RelayStore] | None,
    ) -> None:
        """`registry` is what facts are shown in. With `open_stores`, what is counted for all is published there."""
        self.states = CollectorStates(CollectorMetrics(registry), clock, event, metrics.count_internal_error)
        self.shared_families: list[AnyFamily] = []
        """Counts for all processes: shown from the relay store, not from this process."""
        self._interval_seconds = settings.interval_seconds
        self._servers: list[str] = []
        """The servers that are read."""
        # The families are known before there is anything to read them with: that imports the drivers, in the thread.
        makers: list[Callable[[], PeriodicTask | None]] = []
        if settings.database_url is not None:
            system, insights = SystemMetrics(registry), InsightMetrics(registry)
            self.shared_families = system.cluster_counters
            self._servers.append("PostgreSQL")
            makers.append(lambda: _read_postgresql(settings, metrics, system, insights, self.states, open_stores))
        if redis_url is not None:
            redis = RedisServerMetrics(registry)
            self._servers.append("Redis")
            makers.append(lambda: _read_redis(redis_url, redis, self.states, self._interval_seconds))
        super().__init__(
            "collectors",
            lambda: [task for make in makers if (task := make()) is not None],
            lambda _, __: metrics.count_internal_error("collectors"),
        )

    def note(self) -> str:
        """The servers that are read, and who reads for all, for people."""
        read = ", ".join(self._servers)
        if "PostgreSQL" not in self._servers:
            return read
        if self.states.of("database") is UNREAD:
            return f"{read}; not connected yet"
        who = "this process reads for all" if self.states.leads else "another process reads for all, or nobody"
        return f"{read}; {who}; leadership: {self.states.mode}"

    def register_checks(
        self, monitor: HealthMonitor, *, required: bool, read_elsewhere: ReadElsewhere | None = None
    ) -> None:
        """Have health tell what the collectors see; `required`: without the database the host is not ready."""
        limit_seconds = _INTERVALS * max(self._interval_seconds, _LONGEST_INTERVAL_SECONDS) + _SLACK_SECONDS
        checks = CollectedChecks(self.states, limit_seconds, read_elsewhere)
        for name in (name for server in self._servers for name in checks_of(server)):
            monitor.register_check(name, _outcome_of(checks, name), required=required and name == "database")


def _outcome_of(checks: CollectedChecks, name: str) -> Callable[[], Outcome]:
    def run() -> Outcome:
        status, message, details = checks.find(name)
        if status == "unknown":
            return unknown(message, dict(details))
        return Outcome(HealthStatus(status), message, dict(details))

    return run


def _read_postgresql(
    settings: CollectorSettings,
    metrics: Metrics,
    system: SystemMetrics,
    insights: InsightMetrics,
    states: CollectorStates,
    open_stores: Callable[[], RelayStore] | None,
) -> PeriodicTask:
    from ordinaut_ext_observability.collectors.collector import ExtraQuery, SystemCollector
    from ordinaut_ext_observability.collectors.leadership import Checkpoints
    from ordinaut_ext_observability.db.insights.report import read_parts

    async def read_insights(transaction: ReadTransaction, _: SystemMetrics) -> Mapping[str, str]:
        found = await read_parts(transaction.connection)
        insights.update(found)
        return {problem.part: problem.reason for problem in found.problems}

    assert settings.database_url is not None  # noqa: S101 - or there was nothing to read
    collector = SystemCollector(
        settings.database_url.get_secret_value(),
        system,
        states,
        interval_seconds=settings.interval_seconds,
        heartbeat_fresh_seconds=settings.heartbeat_fresh_seconds,
        checkpoints=Checkpoints(open_stores, system.cluster_counters, metrics) if open_stores is not None else None,
        extra=ExtraQuery(read_insights, insights.clear),
    )
    return PeriodicTask("postgresql", collector.collect, settings.interval_seconds, finish=collector.close)


def _read_redis(
    url: str, metrics: RedisServerMetrics, states: CollectorStates, interval_seconds: float
) -> PeriodicTask | None:
    from ordinaut_ext_observability.collectors.redis_server import RedisCollector

    try:
        collector = RedisCollector(url, metrics, states, interval_seconds)
    except ValueError as error:
        error.add_note(str(error))
        states.failed("redis", error, Problem.REFUSED)
        return None
    return PeriodicTask("redis", collector.collect, interval_seconds, finish=collector.close)
