"""The part of a process that reads PostgreSQL and Redis: its thread, what it counts into, and its checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask
from ordinaut_ext_observability.collectors.states import LOOK_SECONDS, UNREAD, CollectorStates
from ordinaut_ext_observability.db.definitions import InsightMetrics
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics, SystemMetrics
from ordinaut_ext_observability.runtime.collected_checks import CollectedChecks, checks_of
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.runtime.relay import MergedProcesses
from ordinaut_ext_observability.runtime.store import usable_redis_url
from ordinaut_ext_observability.settings.load import Settings

if TYPE_CHECKING:  # importing it takes the driver
    from ordinaut_ext_observability.collectors.connection import ReadTransaction

_SLACK_SECONDS = 30.0
"""A reading is too old after four intervals and this."""


class Collectors(Part):
    """The part that reads PostgreSQL and Redis, in a process that serves, on a thread and event loop of its own."""

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
        self._settings = settings.collectors
        self._redis_url = usable_redis_url(settings.relay)
        servers = {"PostgreSQL": self._settings.database_url, "Redis": self._redis_url}
        self._servers = [name for name, url in servers.items() if url is not None]
        self._metrics = metrics
        self._monitor = monitor
        self._merged = merged
        self._make_states = partial(
            CollectorStates, clock=clock, event=event, count_internal_error=metrics.count_internal_error
        )
        self._thread = BackgroundThread(
            "collectors", self._make_tasks, lambda *_: metrics.count_internal_error("collectors")
        )
        self.states: CollectorStates | None = None
        """None before the first start."""
        self.database_required = False
        """True where the host is not ready without its database. Set it before the start."""

    @property
    def reads_queue(self) -> bool:
        """True where queue and workers are read from PostgreSQL for all: then no worker need say how they are."""
        return self._merged.relay is not None and self._settings.enabled and "PostgreSQL" in self._servers

    def not_configured(self) -> Iterator[str]:
        """Yield the checks there are not, for want of a URL or a store."""
        for server in ("PostgreSQL", "Redis"):
            if server not in self._servers:
                yield from checks_of(server)
        if self._merged.relay is None:
            yield "relay"

    def start(self, *, serves: bool) -> None:
        """Begin to read, where there is something to read and an application to serve."""
        if serves and self._settings.enabled and self._servers:
            if self.states is None:
                self.states = self._prepare()
            self._thread.start()

    def begin_stop(self) -> None:
        self._thread.begin_stop()

    def stop(self, ends_at: float) -> None:
        self._thread.stop(ends_at)

    def notes(self) -> dict[str, str]:
        """The servers that are read, and who reads for all, for people."""
        if (states := self.states) is None:
            return {"collectors": "off"}
        who = "this process reads for all" if states.leads else "another process reads for all, or nobody"
        leads = "not connected yet" if states.of("database") is UNREAD else f"{who}; leadership: {states.mode}"
        return {"collectors": ", ".join(self._servers) + (f"; {leads}" if "PostgreSQL" in self._servers else "")}

    def _prepare(self) -> CollectorStates:
        """Make the metrics and checks, before there is anything to read with: that imports the drivers."""
        merged, registry = self._merged, self._merged.collected
        states = self._make_states(CollectorMetrics(registry))
        if "PostgreSQL" in self._servers:
            InsightMetrics(registry)
            counters = SystemMetrics(registry).cluster_counters
            if merged.relay is not None:  # they are shown from the store, not from this process
                merged.relay.exchange.shown_only = counters
        if "Redis" in self._servers:
            RedisServerMetrics(registry)
        interval_seconds = max(self._settings.interval_seconds, LOOK_SECONDS)
        read_elsewhere = merged.seconds_since_read if merged.relay is not None else None
        checks = CollectedChecks(states, 4 * interval_seconds + _SLACK_SECONDS, read_elsewhere)
        for name in (name for server in self._servers for name in checks_of(server)):
            required = self.database_required and name == "database"
            self._monitor.register_check(name, partial(checks.find, name), required=required)
        return states

    def _make_tasks(self) -> Iterator[PeriodicTask]:
        """Make the collectors, in the thread."""
        assert self.states is not None  # noqa: S101 - it was started
        if "PostgreSQL" in self._servers:
            yield self._read_postgresql(self.states)
        if self._redis_url is not None:
            from ordinaut_ext_observability.collectors.redis_server import RedisCollector

            interval_seconds, metrics = self._settings.interval_seconds, RedisServerMetrics(self._merged.collected)
            try:
                redis = RedisCollector(self._redis_url, metrics, self.states, interval_seconds)
            except ValueError as error:
                error.add_note(str(error))
                self.states.failed("redis", error, Problem.REFUSED)
            else:
                yield PeriodicTask("redis", redis.collect, interval_seconds, finish=redis.close)

    def _read_postgresql(self, states: CollectorStates) -> PeriodicTask:
        from ordinaut_ext_observability.collectors.collector import ExtraQuery, SystemCollector
        from ordinaut_ext_observability.collectors.leadership import Checkpoints
        from ordinaut_ext_observability.db.insights.report import read_parts

        settings, open_store = self._settings, self._merged.open_store
        families, insights = SystemMetrics(self._merged.collected), InsightMetrics(self._merged.collected)

        async def read_insights(transaction: ReadTransaction, _: SystemMetrics) -> Mapping[str, str]:
            found = await read_parts(transaction.connection)
            insights.update(found)
            return {problem.part: problem.reason for problem in found.problems}

        assert settings.database_url is not None  # noqa: S101 - or there was nothing to read
        collector = SystemCollector(
            settings.database_url.get_secret_value(),
            families,
            states,
            interval_seconds=settings.interval_seconds,
            heartbeat_fresh_seconds=settings.heartbeat_fresh_seconds,
            checkpoints=Checkpoints(open_store, families.cluster_counters, self._metrics) if open_store else None,
            extra=ExtraQuery(read_insights, insights.clear),
        )
        return PeriodicTask("postgresql", collector.collect, settings.interval_seconds, finish=collector.close)
