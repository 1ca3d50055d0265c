"""Sending what is due: one at a time through each integration, with what came of it told to the notifier.

An integration that failed is left alone until its next try is due, for all groups: a receiver that is down is not asked
for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ordinaut_ext_observability.alerts.channels.base import TRY_SECONDS, Channel, ChannelContext, make_channel
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, rfc3339
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.alerts.notifications.notifier import Notifier
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics

_LEAST_SECONDS_BETWEEN: Final = {"slack": 1.0}
"""Slack takes about one message a second and switches off who sends more; others set no limit that is met here."""
_LONG_MS: Final = 300_000
"""An integration that fails for longer is worth saying: most restarts of a receiver take less."""
_TEST: Final = {"summary": "This is a test, nothing is the matter"}


class Sender:
    """Sends deliveries of a notifier, on one event loop."""

    def __init__(self, context: ChannelContext, metrics: Metrics, now_ms: Callable[[], int]) -> None:
        """`now_ms` gives the time in milliseconds since 1970."""
        self._context = context
        self._metrics = metrics
        self._now_ms = now_ms
        self._channels: dict[str, Channel] = {}
        self._rests_until_ms: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The delivery under way, by integration."""
        self.failing: dict[str, tuple[int, str]] = {}
        """The integrations whose last try failed: since when, in milliseconds, and why."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after each try."""

    def send_due(self, notifier: Notifier) -> None:
        """Begin to send what is due, as far as nothing else is on its way to the same receiver."""
        now_ms = self._now_ms()
        for delivery in notifier.ledger.due(now_ms):
            key = delivery.integration
            if key in self._tasks or self._rests_until_ms.get(key, 0) > now_ms:
                continue
            notifier.ledger.under_way.add(delivery.key)
            self._tasks[key] = asyncio.get_running_loop().create_task(self._send(notifier, delivery))

    def next_try_ms(self, notifier: Notifier) -> int | None:
        """When the next delivery can be tried; None while there is none, or its integration has one under way."""
        waiting = [each for each in notifier.ledger.outbox.values() if each.integration not in self._tasks]
        tries = (max(each.next_try_ms, self._rests_until_ms.get(each.integration, 0)) for each in waiting)
        return min(tries, default=None)

    def troubles(self) -> list[str]:
        """Sentences about integrations that have failed for long; from any thread."""
        long_ago_ms = self._now_ms() - _LONG_MS
        known = list(self.failing.items())
        return [f"{key} fails since {rfc3339(at)}: {reason}" for key, (at, reason) in known if at < long_ago_ms]

    async def close(self) -> None:
        """Give up what is under way, which stays in the outbox, and close the channels."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    async def _send(self, notifier: Notifier, delivery: Delivery) -> None:
        key = delivery.integration
        try:
            error = await self._try(notifier.routing.integrations.get(key), delivery)
            if error is None:
                notifier.note_delivered(delivery, self._now_ms())
            else:
                notifier.note_failed(delivery, error, self._now_ms())
                if not error.permanent:
                    self._rests_until_ms[key] = delivery.next_try_ms
        finally:
            self._tasks.pop(key, None)
            self.on_change()

    async def send_once(self, integration: Integration, alerts: Sequence[NotifiedAlert] = ()) -> None:
        """Try once to hand over alerts that are all handed over again in a moment, or the sign that we are alive."""
        now_ms = self._now_ms()
        facts: dict[str, Any] = {"about": {}}  # nobody reads them there
        forwarded = Delivery("", {}, "", integration.key, "repeat", [*alerts], now_ms, now_ms, facts=facts)
        await self._try(integration, forwarded)

    async def _try(self, integration: Integration | None, delivery: Delivery) -> DeliveryError | None:
        """The error where it was not taken; counted and said."""
        key, metrics = delivery.integration, self._metrics
        try:
            await self._hand_over(integration, delivery)
        except DeliveryError as error:
            metrics.notification_integration_up.labels(key).set(0)
            metrics.notifications_failed.labels(key, "permanent" if error.permanent else "temporary").inc()
            since_ms, before = self.failing.get(key, (self._now_ms(), ""))
            self.failing[key] = since_ms, str(error)
            if before != str(error):
                self._context.event(events.NOTIFICATION_FAILED, integration=key, reason=str(error))
            return error
        metrics.notification_integration_up.labels(key).set(1)
        if delivery.alerts:
            metrics.notifications_sent.labels(key, delivery.reason).inc()
        if self.failing.pop(key, None) is not None:
            self._context.event(events.NOTIFICATION_RECOVERED, integration=key)
        return None

    async def send_tests(self, integrations: Iterable[Integration]) -> dict[str, str]:
        """Send each a test, and that it is over; `sent`, or why it was not taken. It is not counted."""
        outcomes, now_ms = {}, self._now_ms()
        for each in integrations:
            try:
                for ends_ms in (None, now_ms)[: 1 + each.send_resolved]:
                    alert = NotifiedAlert({"alertname": "NotificationTest", "severity": "info"}, _TEST, now_ms, ends_ms)
                    created_ms = ends_ms or now_ms - 1  # two notifications, of ids that differ
                    test = Delivery("test", {}, "", each.key, "first", [alert], created_ms, now_ms)
                    await self._hand_over(each, test)
                outcomes[each.key] = "sent"
            except DeliveryError as error:
                outcomes[each.key] = str(error)
        await self.close()
        return outcomes

    async def _hand_over(self, integration: Integration | None, delivery: Delivery) -> None:
        if integration is None:
            raise DeliveryError("it is no longer configured", permanent=True)
        rest_ms = round(_LEAST_SECONDS_BETWEEN.get(integration.kind, 0.0) * 1000)
        self._rests_until_ms[integration.key] = self._now_ms() + rest_ms
        try:
            channel = self._channels.get(integration.key)
            if channel is None:
                channel = self._channels[integration.key] = make_channel(integration, self._context)
            if self._context.explain is not None and delivery.firing and "about" not in delivery.facts:
                delivery.facts |= await self._context.explain(delivery.alerts)
            async with asyncio.timeout(TRY_SECONDS):
                await channel.send(delivery)
        except TimeoutError:
            raise DeliveryError(f"no answer within {TRY_SECONDS:g} s") from None
        except DeliveryError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours must not keep others from being told
            self._metrics.count_internal_error("notifications")
            raise DeliveryError(f"it cannot be made: {type(error).__name__}", permanent=True) from None
