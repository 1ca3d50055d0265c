"""The collectors of this process: what they count into, the thread they run on, and their checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics, SystemMetrics
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.store import RelayStore
from ordinaut_ext_observability.settings.parts import CollectorSettings

if TYPE_CHECKING:  # importing it takes the driver
    from ordinaut_ext_observability.collectors.connection import ReadTransaction

_LONGEST_INTERVAL_SECONDS = 15.0
"""Between looks at the server, where the interval is shorter and something fails or takes long."""

_INTERVALS = 4
_SLACK_SECONDS = 30.0
"""A reading is too old after so many intervals and this."""


class CollectorThread(BackgroundThread):
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
