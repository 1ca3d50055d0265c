"""Functions of the host: those that `AlertManager.add_notification_channel` named."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from ordinaut_ext_observability.alerts.channels.base import TRY_SECONDS, Channel, ChannelContext
from ordinaut_ext_observability.alerts.manager import Alert, AlertSeverity, AlertStatus, known_managers
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.scrub.text import mask_text

_SEVERITIES: Final = {each.value: each for each in AlertSeverity} | {"error": AlertSeverity.CRITICAL}


class FunctionChannel(Channel):
    """Calls functions with each alert, in the process that sends: plain ones in a thread."""

    def __init__(self, integration: Integration, context: ChannelContext) -> None:
        super().__init__(integration, context)
        self._name, self._besides = integration.options["name"], integration.options.get("besides") or ()
        self._done: set[tuple[str, int, str]] = set()
        """Calls for a delivery that its next try leaves out."""

    async def send(self, delivery: Delivery) -> None:
        if self._name != "*" and not any(self._name in each.notification_channels for each in known_managers()):
            raise DeliveryError(f"the process that sends has no function of the name {self._name}")
        self._done, failed = {call for call in self._done if call[0] == delivery.id}, []
        for alert in delivery.alerts:
            shown = _as_added(alert, delivery.now_ms)
            for name, function in self._functions(shown.severity):
                call = (delivery.id, id(function), alert.fingerprint)
                if call in self._done:
                    continue
                try:
                    await asyncio.wait_for(_call(function, shown), TRY_SECONDS / 2)
                except Exception as error:  # noqa: BLE001 - of a function that is not ours
                    failed.append(f"{name} ({type(error).__name__})")
                    if not isinstance(error, TimeoutError):  # else it may still be at work
                        continue
                self._done.add(call)
        if failed:
            raise DeliveryError(f"functions failed: {', '.join(failed)}")

    def _functions(self, severity: AlertSeverity) -> Iterator[tuple[str, Callable[[Alert], Any]]]:
        for manager in known_managers():
            names = manager.routing_rules.get(severity, ["log"]) if self._name == "*" else [self._name]
            for name in names:
                if name in manager.notification_channels and name not in self._besides:
                    yield name, manager.notification_channels[name]


async def _call(function: Callable[[Alert], Any], alert: Alert) -> None:
    called = function(alert) if inspect.iscoroutinefunction(function) else await in_daemon_thread(function, alert)
    if inspect.isawaitable(called):
        await called


def _as_added(alert: NotifiedAlert, now_ms: int) -> Alert:
    """The alert as functions take it: its labels are the context."""
    ended_ms = alert.ends_at_ms if alert.is_resolved(now_ms) else None
    return Alert(
        alert.labels.get("alertname", ""),
        _SEVERITIES.get(alert.labels.get("severity", ""), AlertSeverity.INFO),
        AlertStatus.FIRING if ended_ms is None else AlertStatus.RESOLVED,
        mask_text(alert.annotations.get("description") or alert.annotations.get("summary", "")),
        datetime.fromtimestamp(alert.starts_at_ms / 1000, UTC),
        None if ended_ms is None else datetime.fromtimestamp(ended_ms / 1000, UTC),
        dict(alert.labels),
        alert.fingerprint,
    )
