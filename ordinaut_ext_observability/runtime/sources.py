"""What a process shows and did not see itself: other processes, PostgreSQL, Redis; and what it tells the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.engine_events import EngineEvents, instrument_engines
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.runtime.relay import MergedProcesses
from ordinaut_ext_observability.runtime.store import usable_redis_url
from ordinaut_ext_observability.settings.load import Settings

if TYPE_CHECKING:
    from ordinaut_ext_observability.runtime.collector_thread import CollectorThread


class Sources:
    """The relay, the collectors and the events of the host's database engines, where there are such."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        monitor: HealthMonitor,
        *,
        serves: Callable[[], bool],
        event: events.LogEvent,
    ) -> None:
        """Nothing is started or connected to."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._monitor = monitor
        self._serves = serves
        self._event = event
        self.collecting: CollectorThread | None = None
        self.database_required = False
        """Whether the host is not ready without its database."""
        self._database_metrics: DatabaseMetrics | None = None
        self._engine_events: EngineEvents | None = None
        self.merged = MergedProcesses(settings, metrics, clock, monitor, event)
        monitor.not_configured = tuple(self._not_configured())

    @property
    def queue_is_collected(self) -> bool:
        """Whether queue and workers are read from PostgreSQL for all: then no worker need say how they are."""
        collectors = self._settings.collectors
        return self.merged.relay is not None and collectors.enabled and collectors.database_url is not None

    def start(self) -> None:
        """Begin what is not running yet. Called again when an application was mounted or has started."""
        self._watch_engines()
        if self._serves():
            self._start_collecting()
        self.merged.start(serves=self._serves())

    def begin_stop(self) -> None:
        """Have every thread end soon."""
        if self.collecting is not None:
            self.collecting.begin_stop()
        self.merged.begin_stop()

    def stop(self, ends_at: float | None = None) -> None:
        """End every thread until then, on `monotonic_seconds`. Safe without `start`."""
        self.begin_stop()
        if self.collecting is not None:
            self.collecting.stop(ends_at)
        self.merged.stop(ends_at)
        if self._engine_events is not None:
            self._engine_events.remove()
            self._engine_events = None

    def notes(self) -> dict[str, str]:
        """How it stands with each source, for people."""
        return {**self.merged.notes(), "collectors": self.collecting.note() if self.collecting is not None else "off"}

    def _start_collecting(self) -> None:
        if self.collecting is None:
            self.collecting = self._make_collecting()
            if self.collecting is not None:
                relay = self.merged.relay
                if relay is not None:
                    relay.exchange.shown_only = self.collecting.shared_families
                self.collecting.register_checks(
                    self._monitor,
                    required=self.database_required,
                    read_elsewhere=self.merged.seconds_since_read if relay is not None else None,
                )
        if self.collecting is not None:
            self.collecting.start()

    def _not_configured(self) -> Iterator[str]:
        """Which checks there are not, for want of a URL."""
        if self._settings.collectors.database_url is None:
            yield from ("database", "queue", "workers", "scheduler")
        if usable_redis_url(self._settings.relay) is None:
            yield "redis"
        if self.merged.relay is None:
            yield "relay"

    def _make_collecting(self) -> CollectorThread | None:
        settings = self._settings.collectors
        redis_url = usable_redis_url(self._settings.relay)
        if not settings.enabled or (settings.database_url is None and redis_url is None):
            return None
        from ordinaut_ext_observability.runtime.collector_thread import CollectorThread

        return CollectorThread(
            settings,
            redis_url,
            self._metrics,
            self.merged.collected,
            self._clock,
            event=self._event,
            open_stores=self.merged.open_store,
        )

    def database_metrics(self) -> DatabaseMetrics:
        """The metrics of database clients in this process, made when they are first asked for."""
        if self._database_metrics is None:
            self._database_metrics = DatabaseMetrics(self._metrics)
        return self._database_metrics

    def _watch_engines(self) -> None:
        if self._engine_events is not None or not self._settings.collectors.instrument_database:
            return
        if "sqlalchemy.engine" in sys.modules:  # where the host has not imported it, there is nothing to watch
            self._engine_events = instrument_engines(self.database_metrics(), self.merged.note_queued)
