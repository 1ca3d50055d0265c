"""The part of a process that merges its metrics with those of others, as the settings say, and how it does."""

from __future__ import annotations

import asyncio

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.collectors.states import LOOK_SECONDS
from ordinaut_ext_observability.correlation.context import RequestIds, current_ids
from ordinaut_ext_observability.health.model import HealthStatus, Outcome, unknown
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.exchange import Exchange
from ordinaut_ext_observability.relay.relay import Relay
from ordinaut_ext_observability.relay.siblings import Siblings
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.runtime.store import choose_store, opener_of
from ordinaut_ext_observability.settings.load import Settings

_DEADLINE_SECONDS = 1.0
"""Longest wait of a scrape for the total; it takes milliseconds."""

_START_SECONDS = 3.0
"""Longest wait of a scrape that comes while the process starts: sums must not begin anew because one process did."""

_SILENT_INTERVALS = 3
"""So many intervals without an answer are worth saying."""


class MergedProcesses(Part):
    """The relay where the settings give it a store; else this process is shown alone."""

    def __init__(
        self, settings: Settings, metrics: Metrics, clock: Clock, monitor: HealthMonitor, event: events.LogEvent
    ) -> None:
        """Nothing is started or connected to."""
        self._metrics = metrics
        self._clock = clock
        self._interval_seconds = settings.relay.interval_seconds
        self._sign_seconds = 2 * max(settings.collectors.interval_seconds, LOOK_SECONDS) + 4 * self._interval_seconds
        """Whoever reads for all looked at its server within this time, or does so no more."""
        self._siblings = Siblings()
        self.collected = metrics.registry
        """Registry of what one process reads for all: with a relay apart, since it is shown from the store."""
        self.relay: Relay | None = None
        """None where processes share nothing."""
        store = choose_store(settings)
        self.open_store = opener_of(store, clock) if settings.relay.enabled else None
        self._note = store.note if settings.relay.enabled else "ORDINAUT_OBS_RELAY is false"
        if self.open_store is not None:
            self.collected = Registry(metrics.registry.budgets)
            self.collected.on_overflow = metrics.registry.on_overflow
            exchange = Exchange(self.open_store, (metrics.registry, self.collected), metrics)
            relay = self.relay = Relay(exchange, metrics, clock, self._siblings, self._interval_seconds, event)
            monitor.register_check("relay", lambda: self._relay_outcome(relay), required=False)
            metrics.registry.refresh_with(lambda: self._show(relay))
        else:
            # What is counted is a fact, not a measurement: it is believed at once.
            monitor.register_check(
                "relay", self._alone_outcome, required=False, failures_to_worsen=1, only_trouble=True
            )

    def start(self, *, serves: bool) -> None:
        """Begin what is not running yet; `serves`: this process answers scrapes of all, from now on."""
        if serves:
            self._siblings.start()
        if self.relay is not None:
            self.relay.start(serves=serves)

    def begin_stop(self) -> None:
        if self.relay is not None:
            self.relay.begin_stop()

    def stop(self, ends_at: float) -> None:
        if self.relay is not None:
            self.relay.stop(ends_at)
        self._siblings.close()

    def notes(self) -> dict[str, str]:
        """Words for people about how it stands."""
        if self.relay is None:
            note = f"off: {self._note}"
        elif (store := self.relay.exchange.store_name) is None:
            note = f"{self._note} has not answered yet"
        else:
            note = f"{self.relay.exchange.process_count} processes through {store}"
        return {"processes_merged": note}

    async def shown_registry(self) -> Registry:
        """The registry that a scrape shows: the total of all processes where they are merged, else this one's."""
        relay = self.relay
        if relay is None or not relay.started:
            return self._metrics.registry
        answer = asyncio.wrap_future(relay.read_total())
        # Not `wait_for`: others may wait for the same answer, which it would cancel.
        await asyncio.wait([answer], timeout=_DEADLINE_SECONDS if relay.state.settled.is_set() else _START_SECONDS)
        return relay.shown(fresh=answer.done() and answer.result())

    def note_queued(self, task_id: str) -> None:
        """The running request queued work of this task: the worker that gets it is told which request it was."""
        ids = current_ids()
        if ids is not None and self.relay is not None:
            self.relay.origins.push(task_id, ids)

    def origin_of(self, task_id: str) -> RequestIds | None:
        """The ids of the request that queued this task's oldest work, if one did; asked for once per piece of work."""
        return self.relay.origins.pop(task_id) if self.relay is not None else None

    def seconds_since_read(self, collector: str) -> float | None:
        """Seconds since another process, which reads for all, read what this collector reads; None: none says so."""
        if self.relay is None:
            return None
        success, leader = CollectorMetrics.collector_success.name, CollectorMetrics.leader.name
        now, ages = self._clock.wall(), []
        for gauges in self.relay.exchange.gauges():
            values = {(gauge.name, gauge.label_values): gauge.value for gauge in gauges}
            looked_at, read_at = values.get((success, ("database",)), 0.0), values.get((success, (collector,)))
            if values.get((leader, ())) and now - looked_at <= self._sign_seconds and read_at is not None:
                ages.append(max(0.0, now - read_at))
        return min(ages, default=None)

    def _relay_outcome(self, relay: Relay) -> Outcome:
        exchange, age = relay.exchange, relay.state.age_seconds()
        details = {"store": exchange.store_name, "processes": exchange.process_count}
        if not relay.state.settled.is_set():
            return unknown("the relay store has not been asked yet", details)
        problem, name = "", CollectorMetrics.database_info.name
        databases = {gauge.label_values for gauges in exchange.gauges() for gauge in gauges if gauge.name == name}
        if age is None:
            problem = "the store has not answered yet: only this process is seen"
        elif age > _SILENT_INTERVALS * self._interval_seconds:
            problem = f"the relay store has not answered for {age:.0f} s"
        elif len(databases) > 1:
            problem = (
                f"processes that read {len(databases)} databases are one installation here, and their numbers are "
                "added up: give each installation a name of its own in ORDINAUT_OBS_INSTALLATION"
            )
        return Outcome(HealthStatus.DEGRADED if problem else HealthStatus.HEALTHY, problem, details)

    def _alone_outcome(self) -> Outcome:
        """Right for a process that serves alone."""
        processes = self._siblings.count() + 1
        if processes == 1:
            return Outcome(HealthStatus.HEALTHY)
        return Outcome(
            HealthStatus.DEGRADED,
            f"{processes} processes serve at this address, and each shows only its own numbers: give them a store "
            "by REDIS_URL or ORDINAUT_OBS_STORE, and leave ORDINAUT_OBS_RELAY on",
            {"processes": processes},
        )

    def _show(self, relay: Relay) -> None:
        self._metrics.relay_processes.labels().set(relay.exchange.process_count)
        age = relay.state.age_seconds()
        if age is not None:
            self._metrics.relay_age.labels().set(age)
