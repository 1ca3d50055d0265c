"""Alerts and silences of the installation, as any of its processes sees and changes them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.mutes import Muted, Mutes
from ordinaut_ext_observability.alerts.notifications.silences import Silence
from ordinaut_ext_observability.alerts.notifications.store import NotificationStore
from ordinaut_ext_observability.alerts.routing.routes import Route, Routing
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.errors import ObservabilityError

MAX_SILENCES: Final = 1_000
"""Silences that are remembered, expired ones too: each is compared with every alert."""


class RefusedError(ObservabilityError):
    """What somebody asked for cannot be done; the message says why and what would be accepted."""


@dataclass(frozen=True, slots=True)
class SeenAlert:
    """An alert with what decides about telling it."""

    alert: NotifiedAlert
    muted: Muted
    routes: tuple[Route, ...]

    @property
    def state(self) -> str:
        """`active`, or `suppressed` by a silence or another alert."""
        return "suppressed" if self.muted.silenced_by or self.muted.inhibited_by else "active"


class AlertDesk:
    """Answers what people and programs ask, and changes what they change.

    Methods that ask the store may take two seconds: they are not for an event loop.
    """

    def __init__(
        self,
        store: NotificationStore,
        routing: Callable[[], Routing],
        own_alerts: Callable[[], Iterable[NotifiedAlert]],
        now_ms: Callable[[], int],
    ) -> None:
        """`own_alerts` gives those of our rules, as this process knows them."""
        self.store = store
        self.routing = routing
        self._own_alerts = own_alerts
        self.now_ms = now_ms
        self.started_ms = now_ms()
        self.on_change: Callable[[], None] = lambda: None
        """Called after a change, on any thread."""
        self.send_test: Callable[[str], dict[str, str]] = lambda _name: {}
        """Sends a test message to a receiver, or by one integration; what came of it by integration."""

    def alerts(self) -> list[SeenAlert]:
        """The alerts that fire, those posted to us too. Raises `ClusterUnavailableError`."""
        now_ms, routing = self.now_ms(), self.routing()
        silences, posted = self.store.read_records()
        known = {alert.fingerprint: alert for alert in (*posted, *self._own_alerts()) if not alert.is_resolved(now_ms)}
        mutes = Mutes(routing)
        mutes.silences = silences
        mutes.begin(known.values(), now_ms)

        def see(alert: NotifiedAlert) -> SeenAlert:
            routes = tuple(routing.route.match(alert.labels))
            intervals = [name for route in routes for name in mutes.muting_intervals(route, now_ms)]
            return SeenAlert(alert, mutes.of_alert(alert.labels, now_ms, intervals), routes)

        return [see(known[fingerprint]) for fingerprint in sorted(known)]

    def post(self, alerts: Iterable[NotifiedAlert]) -> None:
        """Take alerts that somebody else evaluates. Raises `ClusterUnavailableError`."""
        known = {alert.fingerprint: alert for alert in self.store.read_records()[1]}
        merged = [alert.merged_over(known.get(alert.fingerprint, alert)) for alert in alerts]
        if not self.store.put_alerts(merged):
            raise ClusterUnavailableError(self.store.problem)
        self.on_change()

    def silences(self) -> list[Silence]:
        """Every silence that is remembered. Raises `ClusterUnavailableError`."""
        return list(self.store.silences().values())

    def set_silence(self, silence: Silence) -> str:
        """Make a silence, or change the one of its id; the id it has then.

        A change that is none of the same silence ends that one and makes another. Raises `RefusedError`, `KeyError` for
        an id that is not known, `ClusterUnavailableError`.
        """
        now_ms = self.now_ms()
        known = self.store.silences()
        self._check(silence, len(known), now_ms)
        changed = []
        if silence.id:
            before = known[silence.id]
            if not before.can_become(silence, now_ms):
                if before.state(now_ms) != "expired":
                    changed.append(before.expired(now_ms))
                silence = replace(silence, id="")
        if not silence.id:
            silence = replace(silence, id=str(uuid.uuid4()), starts_at_ms=max(silence.starts_at_ms, now_ms))
        self._write([*changed, replace(silence, updated_at_ms=now_ms)])
        return silence.id

    def expire_silence(self, identity: str) -> None:
        """End a silence now. Raises `KeyError` for an id that is not known, `RefusedError` for one that has ended."""
        now_ms = self.now_ms()
        silence = self.store.silences()[identity]
        if silence.state(now_ms) == "expired":
            raise RefusedError(f"silence {identity} already expired")
        self._write([silence.expired(now_ms)])

    def _check(self, silence: Silence, known: int, now_ms: int) -> None:
        if silence.ends_at_ms <= silence.starts_at_ms:
            raise RefusedError("start time must be before end time")
        if silence.ends_at_ms < now_ms:
            raise RefusedError("end time can't be in the past")
        if all(matcher.matches("") for matcher in silence.matchers):
            raise RefusedError("at least one matcher must not match the empty string")
        if known >= MAX_SILENCES:
            raise RefusedError(f"there are {MAX_SILENCES} silences; expired ones go after five days")

    def _write(self, silences: list[Silence]) -> None:
        if not self.store.put_silences(silences):
            raise ClusterUnavailableError(self.store.problem)
        self.on_change()
