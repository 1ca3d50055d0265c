"""Alerts and silences of the installation, as any of its processes sees and changes them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, rfc3339
from ordinaut_ext_observability.alerts.notifications.links import Links
from ordinaut_ext_observability.alerts.notifications.silences import Kind, Muted, Mutes, Silence
from ordinaut_ext_observability.alerts.notifications.store import NotificationStore, Seen
from ordinaut_ext_observability.alerts.routing.defaults import ConfiguredRouting
from ordinaut_ext_observability.alerts.routing.matchers import matchers_text, sort_matchers
from ordinaut_ext_observability.alerts.routing.routes import Route, Routing
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.promql.matchers import LabelMatcher

_ACK_MS: Final = 4 * 3_600_000
"""Time of an acknowledgement where no policy names one: so long Alertmanager waits before it repeats."""
_LONGEST_MS: Final = 86_400_000
"""A maintenance that is forgotten hides alerts for a day at most; a silence may be longer."""
EVERYTHING: Final = (LabelMatcher("alertname", "!~", "Watchdog|"),)
"""Matchers of a maintenance where none are given: all but the alert that says that alerts work."""
MAX_SILENCES: Final = 1_000
"""Silences that are remembered, expired ones too: each is compared with every alert."""


class RefusedError(ObservabilityError):
    """Somebody asked for what cannot be done; the message says why and what would be accepted."""


class SeenAlert(NamedTuple):
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
        configured: ConfiguredRouting,
        own_alerts: Callable[[], Iterable[NotifiedAlert]],
        event: events.LogEvent,
        links: Links | None,
    ) -> None:
        """`own_alerts` gives those of our rules, as this process knows them."""
        self.store = store
        self._configured = configured
        self._own_alerts = own_alerts
        self.now_ms = store.now_ms
        self._event = event
        self.links = links
        self.started_ms = self.now_ms()
        self.on_change: Callable[[], None] = lambda: None
        """Called after a change, on any thread."""
        self.send_test: Callable[[str], dict[str, str]] = lambda _name: {}
        """Sends a test message to a receiver, or by one integration; what came of it by integration."""
        self.told_by = configured.told_by
        """Words for who tells people in our place; empty: we do."""

    def routing(self) -> Routing:
        """Who is told of what."""
        return self._configured.routing

    def alerts(self) -> list[SeenAlert]:
        """The alerts that fire, those posted to us too. Raises `ClusterUnavailableError`."""
        now_ms, routing = self.now_ms(), self.routing()
        silences, posted = self.store.silences_and_posted()
        known = {alert.fingerprint: alert for alert in (*posted, *self._own_alerts()) if not alert.is_resolved(now_ms)}
        mutes = Mutes(routing)
        mutes.silences = silences
        mutes.begin(known.values(), now_ms)

        def see(alert: NotifiedAlert) -> SeenAlert:
            routes = tuple(routing.route.match(alert.labels))
            intervals = [name for route in routes for name in mutes.muting_intervals(route, now_ms)]
            return SeenAlert(alert, mutes.of_alert(alert, now_ms, intervals), routes)

        return [see(known[fingerprint]) for fingerprint in sorted(known)]

    def post(self, alerts: Iterable[NotifiedAlert]) -> None:
        """Take alerts that somebody else evaluates. Raises `ClusterUnavailableError`, `RefusedError`."""
        self._check_told_here()
        known = {alert.fingerprint: alert for alert in self.store.silences_and_posted()[1]}
        merged = [alert.merged_over(known.get(alert.fingerprint, alert)) for alert in alerts]
        self.store.put_alerts(merged)
        self.on_change()

    def silences(self) -> list[Silence]:
        """Every silence that is remembered. Raises `ClusterUnavailableError`."""
        return list(self.store.silences().values())

    def seen(self) -> Seen:
        """Silences and the newest of the journal from memory, also for an event loop; others' are seconds old."""
        return Seen([], [], None) if self.told_by else self.store.seen()

    def set_silence(self, silence: Silence) -> str:
        """Make a silence, or change the one of its id; the id it has then.

        A change that is none of the same silence ends that one and makes another. Raises `RefusedError`, `KeyError` for
        an id that is not known, `ClusterUnavailableError`.
        """
        now_ms = self.now_ms()
        known = self.store.silences()
        self._check(silence, len(known) - (silence.id in known), now_ms)
        changed = []
        if silence.id:
            before = known[silence.id]
            silence = replace(silence, kind=before.kind)
            if not before.can_become(silence, now_ms):
                if before.state(now_ms) != "expired":
                    changed.append(before.expired(now_ms))
                silence = replace(silence, id="")
        if not silence.id:
            silence = replace(silence, id=str(uuid.uuid4()), starts_at_ms=max(silence.starts_at_ms, now_ms))
        self._write([*changed, replace(silence, updated_at_ms=now_ms)])
        return silence.id

    def hold(self, fingerprint: str, kind: Kind, for_ms: int | None, by: str, comment: str = "") -> Silence:
        """Acknowledge or snooze one alert; without a time until the timeout of its escalation policy.

        Raises as `begin`, and `KeyError` for an alert that does not fire.
        """
        alert = self.alert(fingerprint)
        if for_ms is None:
            timeouts = [policy.ack_timeout for policy in self._configured.policies if policy.matches(alert.labels)]
            for_ms = next(iter(timeouts), _ACK_MS)
        matchers = [LabelMatcher(name, "=", value) for name, value in alert.labels.items()]
        return self.begin(kind, for_ms, by, comment, matchers)

    def begin(
        self, kind: Kind, for_ms: int, by: str, comment: str, matchers: Iterable[LabelMatcher] = EVERYTHING
    ) -> Silence:
        """Begin a silence now, such as a maintenance, in place of one like it. Raises as `set_silence`."""
        if kind != "silence" and not 0 < for_ms <= _LONGEST_MS:
            raise RefusedError("give a time of at most 24h, and go on with another one then")
        now_ms = self.now_ms()
        new = Silence(str(uuid.uuid4()), sort_matchers(matchers), now_ms, now_ms + for_ms, now_ms, by, comment, kind)
        known = self.silences()
        like_it = (kind, new.matchers, "active")
        ended = [each for each in known if (each.kind, each.matchers, each.state(now_ms)) == like_it]
        self._check(new, len(known) - len(ended), now_ms)
        self._write([*(each.expired(now_ms) for each in ended), new])  # together: nothing is told in between
        return new

    def maintenances(self, by: str = "") -> list[Silence]:
        """Those that are on, of anybody or of one author. Raises `ClusterUnavailableError`."""
        found = [
            each for each in self.silences() if each.kind == "maintenance" and each.state(self.now_ms()) == "active"
        ]
        return [each for each in found if by in ("", each.created_by)]

    def alert(self, fingerprint: str) -> NotifiedAlert:
        """The alert of this fingerprint. Raises `KeyError` where it does not fire, `ClusterUnavailableError`."""
        return {seen.alert.fingerprint: seen.alert for seen in self.alerts()}[fingerprint]

    def expire_silence(self, identity: str) -> None:
        """End a silence now. Raises `KeyError` for an id that is not known, `RefusedError` for one that has ended."""
        now_ms = self.now_ms()
        silence = self.store.silences()[identity]
        if silence.state(now_ms) == "expired":
            raise RefusedError(f"silence {identity} already expired")
        self._write([silence.expired(now_ms)])

    def _check_told_here(self) -> None:
        if self.told_by:
            raise RefusedError(f"it would have no effect here: people are told by {self.told_by}")

    def _check(self, silence: Silence, known: int, now_ms: int) -> None:
        self._check_told_here()
        if silence.ends_at_ms <= silence.starts_at_ms:
            raise RefusedError("start time must be before end time")
        if silence.ends_at_ms < now_ms:
            raise RefusedError("end time can't be in the past")
        if all(matcher.matches("") for matcher in silence.matchers):
            raise RefusedError("at least one matcher must not match the empty string")
        if known >= MAX_SILENCES:
            raise RefusedError(f"there are {MAX_SILENCES} silences; expired ones go after five days")

    def _write(self, silences: list[Silence]) -> None:
        self.store.put_silences(silences)
        self.on_change()
        for each in silences:
            facts = {"silence": each.id, "kind": each.kind, "matchers": matchers_text(each.matchers)}
            facts |= {"until": rfc3339(each.ends_at_ms), "by": each.created_by, "comment": each.comment}
            self._event(events.SILENCE_CHANGED, **facts)
