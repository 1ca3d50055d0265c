"""Any program, by HTTP: Alertmanager's webhook, version 4, signed where a secret is set.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from ordinaut_ext_observability.alerts.channels.http import HttpChannel
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, rfc3339
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.scrub.text import mask_details

_NEVER: Final = "0001-01-01T00:00:00Z"
"""The end of an alert that has none, as Go writes it."""
_STANDS_MS: Final = 4 * 60_000
"""An alert that is posted no more ends after this time: Prometheus's own."""
_REPEATED_MS: Final = 5 * 60_000
"""Time for which what is resolved is repeated, as Alertmanager's API asks for."""


class WebhookChannel(HttpChannel):
    """Posts one JSON object for each notification."""

    async def send(self, delivery: Delivery) -> None:
        body = orjson.dumps(payload(delivery, self._context.external_url, self._options.get("max_alerts") or 0))
        headers = {"Idempotency-Key": delivery.id}
        if (secret := self._options.get("secret")) is not None:
            headers["X-Signature-256"] = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
        await self.post(self._options["url"], body, headers)


class AlertmanagerChannel(HttpChannel):
    """Posts alerts to a real Alertmanager, which tells people in our place: by its API."""

    async def send(self, delivery: Delivery) -> None:
        now_ms, posted = delivery.now_ms, []
        for alert in delivery.alerts:
            ends_ms = alert.ends_at_ms if alert.is_resolved(now_ms) else None
            if ends_ms is None or now_ms - ends_ms <= _REPEATED_MS:
                times = {"startsAt": rfc3339(alert.starts_at_ms), "endsAt": rfc3339(ends_ms or now_ms + _STANDS_MS)}
                posted.append({"labels": alert.labels, "annotations": alert.annotations, **times})
        if posted:
            await self.post(f"{self._options['url'].rstrip('/')}/api/v2/alerts", orjson.dumps(posted))


class WatchdogChannel(HttpChannel):
    """Calls a dead-man's switch, which raises an alarm when it is not called."""

    async def send(self, _delivery: Delivery) -> None:
        await self.post(self._options["url"], b"{}")


def payload(delivery: Delivery, external_url: str, max_alerts: int = 0) -> dict[str, Any]:
    """The object that is posted."""
    alerts = delivery.alerts[:max_alerts] if max_alerts else delivery.alerts
    return {
        "version": "4",
        "groupKey": delivery.group_key,
        "truncatedAlerts": len(delivery.alerts) - len(alerts),
        "status": delivery.status,
        "receiver": delivery.receiver,
        "groupLabels": delivery.group_labels,
        "commonLabels": _common(alert.labels for alert in delivery.alerts),
        "commonAnnotations": _common(alert.annotations for alert in delivery.alerts),
        "externalURL": external_url,
        "notification_reason": delivery.reason,
        "facts": mask_details(delivery.facts.get("about", {})),
        "alerts": [_shown(alert, delivery.now_ms) for alert in alerts],
    }


def _shown(alert: NotifiedAlert, now_ms: int) -> dict[str, Any]:
    resolved = alert.is_resolved(now_ms)
    return {
        "status": "resolved" if resolved else "firing",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_at_ms),
        "endsAt": rfc3339(alert.ends_at_ms) if resolved and alert.ends_at_ms is not None else _NEVER,
        "generatorURL": alert.generator_url,
        "fingerprint": alert.fingerprint,
    }


def _common(each: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The pairs that all have."""
    found: dict[str, str] | None = None
    for pairs in each:
        found = dict(pairs) if found is None else {k: v for k, v in found.items() if pairs.get(k) == v}
    return found or {}
