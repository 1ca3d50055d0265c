"""The part of a process that tells people of alerts, on a thread and event loop of its own, where the process leads."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, notified_alert
from ordinaut_ext_observability.alerts.notifications.ledger import TABLES
from ordinaut_ext_observability.alerts.notifications.links import Links
from ordinaut_ext_observability.alerts.notifications.mutes import Mutes
from ordinaut_ext_observability.alerts.notifications.notifier import Notifier
from ordinaut_ext_observability.alerts.notifications.sender import Sender
from ordinaut_ext_observability.alerts.notifications.silences import announcements
from ordinaut_ext_observability.alerts.notifications.store import NotificationStore
from ordinaut_ext_observability.alerts.routing.defaults import default_config
from ordinaut_ext_observability.alerts.routing.routes import Integration, Routing
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.daemon_threads import run_on_own_loop
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask
from ordinaut_ext_observability.cluster.base import Cluster, ClusterUnavailableError
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.settings.load import Settings

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.schema import EscalationConfig

_LOOK_SECONDS: Final = 5.0
"""Time between two looks at what other processes wrote: silences, acknowledgements, alerts that were posted to them."""
_ROUND_SECONDS: Final = 3600.0
"""A round waits for its turn by itself."""


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
        self.store = NotificationStore(open_store, clock)
        self._event, self._context = context.event, context
        self._alertmanagers = [
            Integration("alertmanager", f"alertmanager[{number}]", options={"url": url})
            for number, url in enumerate(settings.notifications.alertmanager_urls)
        ]
        """Those that tell people; with one of them, we tell nobody."""
        self.told_by = "Alertmanager (ORDINAUT_OBS_ALERTMANAGER_URLS)" if self._alertmanagers else ""
        self.enabled = settings.notifications.enabled and settings.alerts.enabled and settings.history.enabled
        token, url = settings.access.operator_token, settings.alerts.external_url
        self.links = Links(token.get_secret_value(), url) if token is not None and url else None
        """Makes and reads the links in messages; None: there are none."""
        if self.links is not None:
            self._context = replace(context, links=self.links.of_delivery)
        self.routing_problem = ""
        """The reason why the configuration's routing is not used."""
        self._thread = BackgroundThread("notifications", self._make_tasks, lambda *_: self._count_error())
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin anew: what the parent knows is the parent's to tell."""
        self._routing: Routing | None = None
        self._policies: tuple[EscalationConfig, ...] | None = None
        self.notifier: Notifier | None = None
        """None while another process leads."""
        self._sender: Sender | None = None
        self._to_forward: Sequence[NotifiedAlert] = ()
        self._wake = asyncio.Event()
        self._looked_at = self._taken_at = -math.inf
        """When records were read, and this process evaluated the rules, last."""
        self._settled = self._restored = False

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
        if not self.enabled:
            return {
                "notifications": "off: ORDINAUT_OBS_NOTIFICATIONS, ORDINAUT_OBS_ALERTS or ORDINAUT_OBS_HISTORY is false"
            }
        notifier, sender = self.notifier, self._sender
        if self._alertmanagers:
            return {"notifications": f"sent by {self.told_by}, to which the process that leads posts all alerts"}
        if notifier is None or sender is None:
            return {"notifications": "sent by another process, or not yet"}
        failing = f"; failing: {', '.join(sender.failing)}" if sender.failing else ""
        return {"notifications": f"sent by this process; {len(notifier.ledger.outbox)} wait{failing}"}

    def take_alerts(self, alerts: Iterable[AlertState] | None, settled: bool) -> None:  # noqa: FBT001 - as called
        """Take the alerts of our rules, from any thread. None: another process leads; `settled`: none is missing."""
        taken = None if alerts is None else [notified_alert(alert) for alert in alerts]
        self._thread.call_soon(self._take, taken, settled)

    def outcome(self) -> Outcome:
        """The health check: can everybody be told who has to be?"""
        troubles = self._sender.troubles() if self._sender is not None else []
        if self.notifier is not None and (refused := self.notifier.groups.refused):
            troubles.append(f"of too many alerts some are told to nobody: {refused} times so far")
        if self.routing_problem:
            troubles.append(f"alertmanager in the configuration file is refused: {self.routing_problem}")
        if self.store.problem:
            troubles.append(f"the store does not answer, records wait in memory: {self.store.problem}")
        return Outcome(HealthStatus.DEGRADED if troubles else HealthStatus.HEALTHY, "; ".join(troubles))

    def _make_tasks(self) -> list[PeriodicTask]:
        self.routing()  # whoever leads: what is wrong with it is known at once
        tell = PeriodicTask("notifications", self._round, 1.0, _ROUND_SECONDS, finish=self._end, jitter=0.0)
        watchdog = PeriodicTask("watchdog", self._call_watchdog, 60.0, jitter=0.0)
        return [tell, watchdog] if self._settings.notifications.watchdog_url is not None else [tell]

    async def _call_watchdog(self) -> float | None:
        """Call the dead-man's switch, where this process leads and no more than three samples had no evaluation."""
        url, sender = self._settings.notifications.watchdog_url, self._sender
        late = self._clock.monotonic() - self._taken_at > 3 * self._settings.history.interval_seconds
        if url is None or sender is None or late:
            return _LOOK_SECONDS
        await sender.call_watchdog(url.get_secret_value())
        return None

    def _take(self, alerts: list[NotifiedAlert] | None, settled: bool) -> None:  # noqa: FBT001 - through call_soon
        self._wake.set()
        if alerts is not None:
            self._taken_at = self._clock.monotonic()
        if alerts is None or self._alertmanagers:
            self.notifier, self._to_forward = None, alerts or ()
            self._metrics.notifications_waiting.labels().set(0)
            if alerts is None:
                self._metrics.notification_integration_up.replace({})
                if self._sender is not None:
                    self._sender.failing.clear()  # what others send, they know of
            return
        notifier = self.notifier or self._begin_to_lead()
        notifier.take_own(alerts, self.now_ms())
        self._settled = settled

    def _begin_to_lead(self) -> Notifier:
        strict, routing, now_ms = self._settings.notifications.strict_alertmanager, self.routing(), self.now_ms()
        notifier = Notifier(routing, Mutes(routing), now_ms, self.policies(), self._event, strict=strict)
        self.notifier, self._looked_at, self._settled, self._restored = notifier, -math.inf, False, False
        with contextlib.suppress(ClusterUnavailableError):  # as soon as it answers, then
            self._restore(notifier)
        return notifier

    def _restore(self, notifier: Notifier) -> None:
        tables = self.store.read(*TABLES)
        for _ in range(notifier.restore(dict(zip(TABLES, tables, strict=True)), self.now_ms())):
            self._metrics.count_internal_error("notification_records")
        self._restored = True

    def routing(self) -> Routing:
        """Who is told of what, read at the first call; from any thread."""
        self._routing = self._routing or self._read_routing()
        return self._routing

    def policies(self) -> tuple[EscalationConfig, ...]:
        """Who is told next of what still fires, read at the first call; from any thread."""
        from ordinaut_ext_observability.alerts.routing.config import RoutingError, read_escalations

        if self._policies is None:
            try:
                self._policies = read_escalations(self._settings.file.escalations, self.routing())
            except RoutingError as error:
                self._policies = ()
                self._event(events.ESCALATIONS_REFUSED, reason=str(error))
        return self._policies

    def look_now(self) -> None:
        """Have what was changed in the store be seen now, from any thread."""
        self._thread.call_soon(self._forget_look)

    def _forget_look(self) -> None:
        self._looked_at = -math.inf
        self._wake.set()

    def _read_routing(self) -> Routing:
        from ordinaut_ext_observability.alerts.routing.config import (  # not while the host starts
            RoutingError,
            read_routing,
        )

        given: Mapping[str, Any] = self._settings.file.alertmanager
        if given:
            try:
                return read_routing(given)
            except RoutingError as error:
                self.routing_problem = str(error)
                self._event(events.ROUTING_REFUSED, reason=str(error))
        return read_routing(default_config(self._settings.notifications))

    async def _round(self) -> float:
        """Do what is due, and wait until something is, or is new."""
        notifier, wait = self.notifier, _LOOK_SECONDS
        if self._sender is None:
            self._sender = Sender(self._context, self._metrics, self.now_ms)
            self._sender.on_change = self._wake.set
        sender = self._sender
        forwarded, self._to_forward = self._to_forward, ()
        if forwarded:
            await asyncio.gather(*(sender.forward(each, forwarded) for each in self._alertmanagers))
        if notifier is not None:
            await self._look(notifier)
            now_ms = self.now_ms()
            notifier.flush_due(now_ms)
            await self._save(notifier)
            sender.send_due(notifier)
            self._metrics.notifications_waiting.labels().set(len(notifier.ledger.outbox))
            for due_ms in (notifier.groups.next_due_ms(), sender.next_try_ms(notifier)):
                if due_ms is not None:
                    wait = min(wait, max(0.01, (due_ms - self.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wake.wait()
        self._wake.clear()
        return 0.0

    def send_test(self, name: str) -> dict[str, str]:
        """Send a test to a receiver, or by one integration, from any thread; what came of it by integration."""
        known = self._alertmanagers or self.routing().integrations.values()
        chosen = [each for each in known if name in (each.key, each.key.rpartition("/")[0] or each.kind)]
        return run_on_own_loop(Sender(self._context, self._metrics, self.now_ms).send_tests(chosen))

    async def _look(self, notifier: Notifier) -> None:
        """Read what any process may have written."""
        if self._clock.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = self._clock.monotonic()
        with contextlib.suppress(ClusterUnavailableError):
            silences, posted = await asyncio.to_thread(self.store.silences_and_posted)
            notifier.take([*posted, *announcements(silences.values(), self.now_ms())], self.now_ms())
            notifier.take_silences(silences, self.now_ms())
            if not self._restored:
                self._restore(notifier)
            if self._settled:
                notifier.resolve_vanished(self.now_ms())

    async def _save(self, notifier: Notifier) -> None:
        records = notifier.ledger.take_changed()
        try:
            if records:
                await asyncio.to_thread(self.store.write, records)
        except ClusterUnavailableError:
            notifier.ledger.keep_changed(records)
        self._metrics.notifications_unsaved.labels().set(notifier.ledger.unsaved)

    async def _end(self) -> None:
        notifier, sender = self.notifier, self._sender
        if sender is not None:
            await sender.close()
        if notifier is not None:
            await self._save(notifier)
        self.notifier = self._sender = None
        await asyncio.to_thread(self.store.close)

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return round(self._clock.wall() * 1000)

    def _count_error(self) -> None:
        self._metrics.count_internal_error("notifications")
