"""PagerDuty, by its Events API, version 2. https://developer.pagerduty.com/docs/events-api-v2-overview"""

from __future__ import annotations

import socket
from collections import ChainMap
from typing import Any, Final

import orjson

from ordinaut_ext_observability.alerts.channels.http import HttpChannel
from ordinaut_ext_observability.alerts.channels.message import Message, make_message
from ordinaut_ext_observability.alerts.notifications.alert import rfc3339
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery

_URL: Final = "https://events.pagerduty.com/v2/enqueue"
_MAX_SUMMARY: Final = 1024


class PagerDutyChannel(HttpChannel):
    """Opens an incident for a group, adds to it, acknowledges and resolves it: by the delivery's key."""

    rest_seconds = 120.0
    """PagerDuty asks to wait for minutes."""

    async def send(self, delivery: Delivery) -> None:
        event = make_event(delivery, make_message(delivery, self._context))
        event |= {"routing_key": self._options["routing_key"], "dedup_key": delivery.key}
        # A message has 60 kB at most: PagerDuty takes 512.
        await self.post(self._options.get("url") or _URL, orjson.dumps(event))


def make_event(delivery: Delivery, message: Message) -> dict[str, Any]:
    """The event, without its keys."""
    if message.status == "resolved":
        return {"event_action": "resolve"}
    if "acknowledged_by" in delivery.facts:
        return {"event_action": "acknowledge"}
    labels, parts = delivery.firing[0].labels, message.parts
    numbered = {str(number): part for number, part in enumerate(parts, 1)}
    payload = {
        "summary": message.title[:_MAX_SUMMARY],
        "source": labels.get("instance") or socket.gethostname(),
        "severity": message.status,
        "timestamp": rfc3339(min(alert.starts_at_ms for alert in delivery.firing)),
        "class": labels.get("alertname"),
        "custom_details": numbered if len(delivery.alerts) > 1 else dict(ChainMap(*parts)),
    }
    links = [{"href": url, "text": text} for text, url in message.links.items()]
    return {"event_action": "trigger", "client": "Ordinaut", "payload": payload, "links": links}
