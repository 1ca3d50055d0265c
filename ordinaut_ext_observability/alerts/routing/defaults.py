"""The routing of a process: what its configuration file says, else by severity through what the environment names.

info      log
warning   log, Slack; mail in business hours
critical  log, Slack, mail, PagerDuty, at any time
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from ordinaut_ext_observability.alerts.routing.routes import Integration, Routing
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.settings.parts import NotificationSettings

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.schema import EscalationConfig

_ROUTES: Final = """
global: {resolve_timeout: 5m}
route:
  receiver: info
  group_by: [alertname]
  routes:
  - {matchers: [alertname=Watchdog], receiver: discard}  # it fires always
  - {matchers: ['severity="critical"'], receiver: critical}
  - {matchers: ['severity="warning"'], receiver: warning, continue: true}
  - {matchers: ['severity="warning"'], receiver: warning-in-business-hours, active_time_intervals: [business-hours]}
inhibit_rules:
- {source_matchers: ['severity="critical"'], target_matchers: ['severity=~"warning|info"'], equal: [alertname]}
- source_matchers: [alertname=database_down]
  target_matchers:  # they follow from a database that is down, and say nothing new then
  - alertname=~"QueueStalled|EnqueueLag|NoWorkers|WorkersLost|WorkerHeartbeatOld|Scheduler.*|Collector.*"
  equal: [cluster]
"""


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


def default_config(settings: NotificationSettings) -> dict[str, Any]:
    """The routing by severity, as `alertmanager.yml` would have it; ways that are not set are left out."""
    import yaml  # not while the host starts

    slack = _named("slack", api_url=settings.slack_webhook_url)
    pagerduty = _named("pagerduty", routing_key=settings.pagerduty_routing_key, url=settings.pagerduty_url)
    webhook = _named("webhook", url=settings.webhook_url, secret=settings.webhook_secret)
    mail = _mail(settings)
    ours = [name for name, way in (("slack", slack), ("pagerduty", pagerduty), ("email", mail)) if way]
    log: dict[str, Any] = {"log_configs": [{}], "function_configs": [{"name": "*", "besides": ["log", *ours]}]}
    receivers = {
        "discard": {},
        "info": log,
        "warning": log | slack | webhook,
        "warning-in-business-hours": mail,
        "critical": log | slack | webhook | mail | pagerduty,
    }
    days, _, hours = settings.business_hours.partition(" ")
    times = dict(zip(("start_time", "end_time"), hours.split("-"), strict=True))
    within = {"weekdays": [days], "times": [times], "location": settings.time_zone}
    routes: dict[str, Any] = yaml.safe_load(_ROUTES)
    return routes | {
        "receivers": [{"name": name, **ways} for name, ways in receivers.items()],
        "time_intervals": [{"name": "business-hours", "time_intervals": [within]}],
    }


def _named(kind: str, **options: SecretStr | str | None) -> dict[str, Any]:
    """The integration, where its first option is set."""
    given = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in options.items()
        if value is not None
    }
    return {f"{kind}_configs": [{**given, "send_resolved": True}]} if next(iter(options)) in given else {}


def _mail(settings: NotificationSettings) -> dict[str, Any]:
    if settings.smtp_url is None or not settings.email_to:
        return {}
    url = urlsplit(settings.smtp_url.get_secret_value())
    user, password, host = unquote(url.username or ""), unquote(url.password or ""), url.hostname or ""
    port = url.port or (465 if url.scheme == "smtps" else 587)
    options = {
        "to": ", ".join(settings.email_to),
        "from": settings.email_from or (user if "@" in user else f"ordinaut@{host}"),
        "smarthost": f"{host}:{port}",
        "auth_username": user or None,
        "auth_password": password or None,
        "require_tls": url.scheme == "smtps" or bool(user),
        "send_resolved": True,
    }
    return {"email_configs": [{name: value for name, value in options.items() if value is not None}]}
