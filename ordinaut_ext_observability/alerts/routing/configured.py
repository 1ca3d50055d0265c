"""Who is told of what, by the settings of a process: by our routes, or by an Alertmanager in our place."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ordinaut_ext_observability.alerts.routing.defaults import default_config
from ordinaut_ext_observability.alerts.routing.routes import Integration, Routing
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.settings.load import Settings

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.schema import EscalationConfig


class ConfiguredRouting:
    """Routing and escalation policies, read when they are first asked for; from any thread.

    What is wrong is an event, and is not used: the routing is then the default one.
    """

    def __init__(self, settings: Settings, event: events.LogEvent) -> None:
        """Nothing is read yet."""
        self._settings = settings
        self._event = event
        self.problem = ""
        """The reason why the configuration's routing is not used."""
        self.alertmanagers = [
            Integration("alertmanager", f"alertmanager[{number}]", options={"url": url})
            for number, url in enumerate(settings.notifications.alertmanager_urls)
        ]
        """Those that tell people; with one of them, we tell nobody."""
        self.told_by = "Alertmanager (ORDINAUT_OBS_ALERTMANAGER_URLS)" if self.alertmanagers else ""
        """Words for who tells people in our place; empty: we do."""

    @cached_property
    def routing(self) -> Routing:
        """Who is told of what."""
        from ordinaut_ext_observability.alerts.routing.config import RoutingError, read_routing

        given = self._settings.file.alertmanager
        if given:
            try:
                return read_routing(given)
            except RoutingError as error:
                self.problem = str(error)
                self._event(events.ROUTING_REFUSED, reason=self.problem)
        return read_routing(default_config(self._settings.notifications))

    @cached_property
    def policies(self) -> tuple[EscalationConfig, ...]:
        """Who is told next of what still fires."""
        from ordinaut_ext_observability.alerts.routing.config import RoutingError, read_escalations

        try:
            return read_escalations(self._settings.file.escalations, self.routing)
        except RoutingError as error:
            self._event(events.ESCALATIONS_REFUSED, reason=str(error))
            return ()

    def find_integrations(self, name: str) -> list[Integration]:
        """The integrations of a receiver, or the one of this key; `alertmanager` means all of that kind."""
        known = self.alertmanagers or self.routing.integrations.values()
        return [each for each in known if name in (each.key, each.key.rpartition("/")[0] or each.kind)]
