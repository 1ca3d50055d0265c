"""The routing where the configuration file has none: who is told by severity, through what the environment names.

info      log
warning   log, Slack; mail in business hours
critical  log, Slack, mail, PagerDuty, at any time
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import SecretStr

from ordinaut_ext_observability.settings.parts import NotificationSettings

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


def default_config(settings: NotificationSettings) -> dict[str, Any]:
    """The routing by severity, as `alertmanager.yml` would have it; ways that are not set are left out."""
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
