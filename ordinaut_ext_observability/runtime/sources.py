"""What a process shows and did not see itself: other processes, PostgreSQL, Redis; and what it tells the others."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.correlation.context import RequestIds, request_ids
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.engine_events import EngineEvents, instrument_engines
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.families import RelayFamilies
from ordinaut_ext_observability.relay.origins import Origin
from ordinaut_ext_observability.relay.relay import Relay, RelayOptions
from ordinaut_ext_observability.relay.siblings import Siblings
from ordinaut_ext_observability.runtime.relay import alone_outcome, relay_outcome, seconds_since_read
from ordinaut_ext_observability.runtime.store import choose_store, opener_of, usable_redis_url
from ordinaut_ext_observability.settings.load import Settings

if TYPE_CHECKING:
    from ordinaut_ext_observability.runtime.collected_checks import ReadElsewhere
    from ordinaut_ext_observability.runtime.collecting import Collecting

_DEADLINE_SECONDS = 1.0
"""How long a scrape waits for the total; it takes milliseconds."""

_START_SECONDS = 3.0
"""How long a scrape waits that comes while the process starts: sums must not begin anew because one process did."""


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
        self._collected_registry = Registry(metrics.registry.budgets)
        self._collected_registry.on_overflow = metrics.registry.on_overflow
        self.collecting: Collecting | None = None
        self.database_required = False
        """Whether the host is not ready without its database."""
        self._database_metrics: DatabaseMetrics | None = None
        self._engine_events: EngineEvents | None = None
        self._siblings = Siblings()
        self._store = choose_store(settings)
        self._open_stores = opener_of(self._store, clock) if settings.relay.enabled else None
        self.relay = self._make_relay()
        """What merges the metrics of all processes; None where they share nothing."""
        if self.relay is not None:
            relay, interval = self.relay, settings.relay.interval_seconds
            monitor.register_check("relay", lambda: relay_outcome(relay, interval), required=False)
        else:
            # What is counted is a fact, not a measurement: it is believed at once.
            options = {"required": False, "failures_to_worsen": 1, "only_trouble": True}
            monitor.register_check("relay", lambda: alone_outcome(self._siblings), **options)
        monitor.not_configured = tuple(self._not_configured())
        metrics.registry.refresh_with(self._refresh)

    @property
    def queue_is_collected(self) -> bool:
        """Whether queue and workers are read from PostgreSQL for all: then no worker need say how they are."""
        collectors = self._settings.collectors
        return self.relay is not None and collectors.enabled and collectors.database_url is not None

    def start(self) -> None:
        """Begin what is not running yet. Called again when an application was mounted or has started."""
        self._watch_engines()
        if self._serves():
            self._siblings.start()
            self._start_collecting()
        if self.relay is not None:
            self.relay.start()

    def begin_stop(self) -> None:
        """Have every thread end soon."""
        for part in (self.collecting, self.relay):
            if part is not None:
                part.begin_stop()

    def stop(self, ends_at: float | None = None) -> None:
        """End every thread until then, on `monotonic_seconds`. Safe without `start`."""
        self.begin_stop()
        for part in (self.collecting, self.relay):
            if part is not None:
                part.stop(ends_at)
        self._siblings.close()
        if self._engine_events is not None:
            self._engine_events.remove()
            self._engine_events = None

    def notes(self) -> dict[str, str]:
        """How it stands with each source, for people."""
        relay, collecting = self.relay, self.collecting
        if relay is None:
            reason = self._store.note if self._settings.relay.enabled else "ORDINAUT_OBS_RELAY is false"
            merging = f"off: {reason}"
        elif relay.store_name is None:
            merging = f"{self._store.note} has not answered yet"
        else:
            merging = f"{relay.process_count} processes through {relay.store_name}"
        return {"processes_merged": merging, "collectors": collecting.note() if collecting is not None else "off"}

    async def shown_registry(self) -> Registry:
        """The registry that a scrape shows: the total of all processes where they are merged, else this one's."""
        relay = self.relay
        if relay is None or not relay.started:
            return self._metrics.registry
        patience = _DEADLINE_SECONDS if relay.settled.is_set() else _START_SECONDS
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bool] = loop.create_future()

        def answer(read: bool) -> None:  # noqa: FBT001 - called by the loop
            if not answered.done():
                answered.set_result(read)

        def done(read: bool) -> None:  # noqa: FBT001 - called by the relay
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(answer, read)

        relay.read_total(done)
        try:
            return relay.shown(fresh=await asyncio.wait_for(answered, patience))
        except TimeoutError:
            return relay.shown(fresh=False)

    def note_queued(self, task_id: str) -> None:
        """The running request queued work of this task: the worker that gets it is told which request it was."""
        ids = request_ids.get()
        if ids is not None and self.relay is not None:
            self.relay.push_origin(task_id, Origin(ids, self._clock.wall()))

    def origin_of(self, task_id: str) -> RequestIds | None:
        """The ids of the request that queued this task's oldest work, if one did; asked for once per piece of work."""
        origin = self.relay.pop_origin(task_id) if self.relay is not None else None
        return origin.ids if origin is not None else None

    def _start_collecting(self) -> None:
        if self.collecting is None:
            self.collecting = self._make_collecting()
            if self.collecting is not None:
                self.collecting.register_checks(
                    self._monitor, required=self.database_required, read_elsewhere=self._read_elsewhere()
                )
        if self.collecting is not None:
            self.collecting.start()

    def _read_elsewhere(self) -> ReadElsewhere | None:
        relay, settings = self.relay, self._settings
        if relay is None:
            return None
        interval = max(settings.collectors.interval_seconds, settings.relay.interval_seconds)
        return lambda collector: seconds_since_read(relay, collector, self._clock.wall(), interval)

    def _not_configured(self) -> Iterator[str]:
        """Which checks there are not, for want of a URL."""
        if self._settings.collectors.database_url is None:
            yield from ("database", "queue", "workers", "scheduler")
        if usable_redis_url(self._settings.relay) is None:
            yield "redis"
        if self.relay is None:
            yield "relay"

    def _make_collecting(self) -> Collecting | None:
        settings = self._settings.collectors
        redis_url = usable_redis_url(self._settings.relay)
        if not settings.enabled or (settings.database_url is None and redis_url is None):
            return None
        from ordinaut_ext_observability.runtime.collecting import Collecting

        relay = self.relay
        # Apart from what this process counts: with a relay, what is collected for all is shown from there.
        registry = self._metrics.registry if relay is None else self._collected_registry
        return Collecting(
            settings,
            redis_url,
            self._metrics,
            registry,
            self._clock,
            event=self._event,
            open_stores=self._open_stores if relay is not None else None,
        )

    def _make_relay(self) -> Relay | None:
        if self._open_stores is None:
            return None
        families = RelayFamilies((self._metrics.registry, self._collected_registry), self._shared_families)
        options = RelayOptions(
            self._settings.relay.interval_seconds,
            self._serves,
            lambda: not self._siblings.count(),
            self._event,
        )
        return Relay(self._open_stores, families, self._metrics, self._clock, options)

    def _shared_families(self) -> Sequence[AnyFamily]:
        if self.collecting is None:
            return ()
        return self.collecting.shared_families

    def database_metrics(self) -> DatabaseMetrics:
        """The metrics of database clients in this process, made when they are first asked for."""
        if self._database_metrics is None:
            self._database_metrics = DatabaseMetrics(self._metrics)
        return self._database_metrics

    def _watch_engines(self) -> None:
        if self._engine_events is not None or not self._settings.collectors.instrument_database:
            return
        if "sqlalchemy.engine" in sys.modules:  # where the host has not imported it, there is nothing to watch
            self._engine_events = instrument_engines(self.database_metrics(), self.note_queued)

    def _refresh(self) -> None:
        if self.relay is not None:
            self._metrics.relay_processes.labels().set(self.relay.process_count)
            age = self.relay.age_seconds()
            if age is not None:
                self._metrics.relay_age.labels().set(age)
