"""The part of a process that tells people of alerts, on a thread and event loop of its own, where the process leads."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, notified_alert
from ordinaut_ext_observability.alerts.notifications.ledger import TABLES
from ordinaut_ext_observability.alerts.notifications.notifier import Notifier
from ordinaut_ext_observability.alerts.notifications.sender import Sender
from ordinaut_ext_observability.alerts.notifications.silences import announcements
from ordinaut_ext_observability.alerts.notifications.store import NotificationStore
from ordinaut_ext_observability.alerts.routing.defaults import ConfiguredRouting
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.daemon_threads import run_on_own_loop
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask
from ordinaut_ext_observability.cluster.base import Cluster, ClusterUnavailableError
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.settings.load import Settings

_LOOK_SECONDS: Final = 5.0
"""Time between two looks at what other processes wrote: silences, acknowledgements, alerts that were posted to them."""
_ROUND_SECONDS: Final = 3600.0
"""A round waits for its turn by itself."""


@dataclass(slots=True)
class _Lead:
    """The time for which this process leads, with its notifier."""

    notifier: Notifier
    settled: bool = False
    """True: no alert of our rules may be missing."""
    restored: bool = False
    """True: the notifier knows what the store has."""
    looked_at: float = -math.inf


class Notifications(Part):
    """Tells people of the alerts of the installation, while this process leads."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        open_store: Callable[[], Cluster] | None,
        context: ChannelContext,
    ) -> None:
        """Nothing is started, read or connected to."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._context = context
        self.store = NotificationStore(open_store, clock)
        self.configured = ConfiguredRouting(settings, context.event)
        self._thread = BackgroundThread(
            "notifications", self._make_tasks, lambda *_: metrics.count_internal_error("notifications")
        )
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin anew, as after a stop: what the parent knows is the parent's to tell."""
        self._wake = asyncio.Event()
        self._sender = self._make_sender()
        self._sender.on_change = self._wake.set
        self._watchdog = _Watchdog(self._settings, self._clock, self._sender)
        self._to_forward: Sequence[NotifiedAlert] = ()
        self._lead: _Lead | None = None

    @property
    def enabled(self) -> bool:
        """True where alerts are evaluated, and somebody may be told of them."""
        settings = self._settings
        return settings.notifications.enabled and settings.alerts.enabled and settings.history.enabled

    @property
    def notifier(self) -> Notifier | None:
        """None while another process leads, or an Alertmanager tells people."""
        return self._lead.notifier if self._lead is not None else None

    def start(self, *, serves: bool) -> None:
        """Begin, where there is an application to serve."""
        if serves and self.enabled:
            self._thread.start()

    def begin_stop(self) -> None:
        self._thread.call_soon(self._wake.set)
        self._thread.begin_stop()

    def stop(self, ends_at: float) -> None:
        self._thread.stop(ends_at)

    def notes(self) -> dict[str, str]:
        """Words for people: who tells whom, and what waits."""
        notifier, failing = self.notifier, self._sender.failing
        if not self.enabled:
            note = "off: ORDINAUT_OBS_NOTIFICATIONS, ORDINAUT_OBS_ALERTS or ORDINAUT_OBS_HISTORY is false"
        elif self.configured.told_by:
            note = f"sent by {self.configured.told_by}, to which the process that leads posts all alerts"
        elif notifier is None:
            note = "sent by another process, or not yet"
        else:
            failures = f"; failing: {', '.join(failing)}" if failing else ""
            note = f"sent by this process; {len(notifier.ledger.outbox)} wait{failures}"
        return {"notifications": note}

    def outcome(self) -> Outcome:
        """The health check: can everybody be told who has to be?"""
        troubles = self._sender.troubles()
        if self.notifier is not None and (refused := self.notifier.groups.refused):
            troubles.append(f"of too many alerts some are told to nobody: {refused} times so far")
        if self.configured.problem:
            troubles.append(f"alertmanager in the configuration file is refused: {self.configured.problem}")
        if self.store.problem:
            troubles.append(f"the store does not answer, records wait in memory: {self.store.problem}")
        return Outcome(HealthStatus.DEGRADED if troubles else HealthStatus.HEALTHY, "; ".join(troubles))

    def take_alerts(self, alerts: Iterable[AlertState] | None, settled: bool) -> None:  # noqa: FBT001 - as called
        """Take the alerts of our rules, from any thread. None: another process leads; `settled`: none is missing."""
        taken = None if alerts is None else [notified_alert(alert) for alert in alerts]
        self._thread.call_soon(self._take, taken, settled)

    def look_now(self) -> None:
        """Have what was changed in the store be seen now, from any thread."""
        if (lead := self._lead) is not None:
            lead.looked_at = -math.inf
        self._thread.call_soon(self._wake.set)

    def send_test(self, name: str) -> dict[str, str]:
        """Send a test to a receiver, or by one integration, from any thread; what came of it by integration."""
        return run_on_own_loop(self._make_sender().send_tests(self.configured.find_integrations(name)))

    def _make_sender(self) -> Sender:
        return Sender(self._context, self._metrics, self.store.now_ms)

    def _make_tasks(self) -> list[PeriodicTask]:
        _ = self.configured.routing  # whoever leads: what is wrong with it is known at once
        tell = PeriodicTask("notifications", self._round, 1.0, _ROUND_SECONDS, finish=self._end, jitter=0.0)
        watchdog = PeriodicTask("watchdog", self._watchdog.call, 60.0, jitter=0.0)
        return [tell, watchdog] if self._settings.notifications.watchdog_url is not None else [tell]

    def _take(self, alerts: list[NotifiedAlert] | None, settled: bool) -> None:  # noqa: FBT001 - through call_soon
        self._wake.set()
        if alerts is not None:
            self._watchdog.evaluated_at = self._clock.monotonic()
        if alerts is None or self.configured.alertmanagers:
            self._lead, self._to_forward = None, alerts or ()
            self._metrics.notifications_waiting.labels().set(0)
            if alerts is None:
                self._metrics.notification_integration_up.replace({})
                self._sender.failing.clear()  # what others send, they know of
            return
        if self._lead is None:
            routing, policies = self.configured.routing, self.configured.policies
            strict = self._settings.notifications.strict_alertmanager
            now_ms, event = self.store.now_ms(), self._context.event
            self._lead = _Lead(Notifier(routing, now_ms, policies, event, strict=strict))
        self._lead.notifier.take_own(alerts, self.store.now_ms())
        self._lead.settled = settled

    async def _round(self) -> float:
        """Do what is due, and wait until something is, or is new."""
        lead, sender, wait = self._lead, self._sender, _LOOK_SECONDS
        forwarded, self._to_forward = self._to_forward, ()
        if forwarded:
            await asyncio.gather(*(sender.send_once(each, forwarded) for each in self.configured.alertmanagers))
        if lead is not None:
            notifier = lead.notifier
            await self._look(lead)
            notifier.flush_due(self.store.now_ms())
            await self._save(notifier)
            sender.send_due(notifier)
            self._metrics.notifications_waiting.labels().set(len(notifier.ledger.outbox))
            for due_ms in (notifier.groups.next_due_ms(), sender.next_try_ms(notifier)):
                if due_ms is not None:
                    wait = min(wait, max(0.01, (due_ms - self.store.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wake.wait()
        self._wake.clear()
        return 0.0

    async def _look(self, lead: _Lead) -> None:
        """Read what any process may have written, where the last look was some time ago."""
        if self._clock.monotonic() - lead.looked_at < _LOOK_SECONDS:
            return
        notifier, store, lead.looked_at = lead.notifier, self.store, self._clock.monotonic()
        with contextlib.suppress(ClusterUnavailableError):
            if not lead.restored:
                tables = await asyncio.to_thread(store.read, *TABLES)
                for _ in range(notifier.restore(dict(zip(TABLES, tables, strict=True)), store.now_ms())):
                    self._metrics.count_internal_error("notification_records")
                await asyncio.to_thread(store.journal)  # known from now on
                lead.restored = True
            silences, posted = await asyncio.to_thread(store.silences_and_posted)
            now_ms = store.now_ms()
            notifier.take([*posted, *announcements(silences.values(), now_ms)], now_ms)
            notifier.take_silences(silences, now_ms)
            if lead.settled:
                notifier.resolve_vanished(now_ms)

    async def _save(self, notifier: Notifier) -> None:
        records = notifier.ledger.take_changed()
        try:
            if records:
                await asyncio.to_thread(self.store.write, records)
        except ClusterUnavailableError:
            notifier.ledger.keep_changed(records)
        self._metrics.notifications_unsaved.labels().set(notifier.ledger.unsaved)

    async def _end(self) -> None:
        await self._sender.close()
        if self._lead is not None:
            await self._save(self._lead.notifier)
        self.reset_after_fork()
        await asyncio.to_thread(self.store.close)


class _Watchdog:
    """The dead-man's switch: called where this process leads and no more than three samples had no evaluation."""

    def __init__(self, settings: Settings, clock: Clock, sender: Sender) -> None:
        url = settings.notifications.watchdog_url
        self._integration = Integration("watchdog", "watchdog", options={"url": url and url.get_secret_value()})
        self._late_seconds = 3 * settings.history.interval_seconds
        self._clock = clock
        self._sender = sender
        self.evaluated_at = -math.inf
        """When this process evaluated the rules last."""

    async def call(self) -> float | None:
        """Call it; the seconds until the next look where it is too late to, else None."""
        if self._clock.monotonic() - self.evaluated_at > self._late_seconds:
            return _LOOK_SECONDS
        await self._sender.send_once(self._integration)
        return None
