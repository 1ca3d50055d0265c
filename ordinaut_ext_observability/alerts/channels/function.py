"""Functions of the host: those that `AlertManager.add_notification_channel` named, called with the alerts it knows."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.manager import Alert, AlertSeverity, AlertStatus, known_managers
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.scrub.text import mask_text

_SEVERITIES = {"critical": AlertSeverity.CRITICAL, "error": AlertSeverity.CRITICAL, "warning": AlertSeverity.WARNING}


class FunctionChannel:
    """Calls functions, in the process that leads: a coroutine function on its loop, another in a thread.

    The name `*` means all that `routing_rules` name for the severity, but for the channels in `besides`.
    """

    def __init__(self, integration: Integration, _context: ChannelContext) -> None:
        self._name, self._besides = integration.options["name"], integration.options.get("besides") or ()
        self._called: tuple[str, set[tuple[int, str]]] = ("", set())
        """The last delivery, and the calls of it that succeeded: a second try leaves them out."""
        self._call: asyncio.Future[str] | None = None

    async def send(self, delivery: Delivery) -> None:
        if self._call is not None and not self._call.done():
            raise DeliveryError("the function called before has not returned yet")
        if self._called[0] != delivery.id:
            self._called = (delivery.id, set())
        failed: dict[str, str] = {}
        for alert in delivery.alerts:
            shown = _as_added(alert, delivery.now_ms)
            for name, function in self._functions(shown.severity):
                call = (id(function), alert.fingerprint)
                if call in self._called[1]:
                    continue
                self._call = asyncio.ensure_future(_call(function, shown, partial(self._called[1].add, call)))
                if error := await asyncio.shield(self._call):  # it may return later, and is not called again then
                    failed[name] = error
        if failed:
            raise DeliveryError("; ".join(f"the function {name} failed: {error}" for name, error in failed.items()))

    async def close(self) -> None:
        """There is nothing to give back."""

    def _functions(self, severity: AlertSeverity) -> Iterator[tuple[str, Callable[[Alert], Any]]]:
        found = False
        for manager in known_managers():
            names = [self._name] if self._name != "*" else manager.routing_rules.get(severity, ["log"])
            for name in names:
                if name in manager.notification_channels and name not in self._besides:
                    found = True
                    yield name, manager.notification_channels[name]
        if not found and self._name != "*":
            raise DeliveryError(f"add_notification_channel has not named {self._name} in the process that sends")


async def _call(function: Callable[[Alert], Any], alert: Alert, note_success: Callable[[], None]) -> str:
    """Call a function; the name of what it raised, empty where it returned."""
    try:
        if inspect.iscoroutinefunction(function):
            await function(alert)
        elif inspect.isawaitable(result := await in_daemon_thread(function, alert)):  # it may take any time
            await result
    except Exception as error:  # noqa: BLE001 - of a function that is not ours
        return type(error).__name__
    note_success()
    return ""


def _as_added(alert: NotifiedAlert, now_ms: int) -> Alert:
    """The alert as functions take it: its labels are the context."""
    ended = alert.is_resolved(now_ms)
    said = alert.annotations.get("description") or alert.annotations.get("summary", "")
    return Alert(
        alert.labels.get("alertname", ""),
        _SEVERITIES.get(alert.labels.get("severity", ""), AlertSeverity.INFO),
        AlertStatus.RESOLVED if ended else AlertStatus.FIRING,
        mask_text(said),
        datetime.fromtimestamp(alert.starts_at_ms / 1000, UTC),
        datetime.fromtimestamp((alert.ends_at_ms or now_ms) / 1000, UTC) if ended else None,
        dict(alert.labels),
        alert.fingerprint,
    )
