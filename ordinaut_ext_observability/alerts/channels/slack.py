"""Slack, by an incoming webhook. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.channels.http import HttpSender, plain_words
from ordinaut_ext_observability.alerts.channels.message import Message, make_message
from ordinaut_ext_observability.alerts.manager import Alert
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.settings.load import load_settings

_COLOURS: Final = {"critical": "danger", "error": "danger", "warning": "warning", "info": "#439fe0"}
_MAX_TEXT: Final = 3000
"""Longest text of a section; Slack refuses the whole message for one more character."""
_MAX_FIELDS: Final = 10
_MAX_FIELD: Final = 1800
"""Of the 2,000 that Slack takes, its name and marks included."""
_MAX_TITLE: Final = 300


class SlackChannel:
    """Posts one message for each notification; its colour is the severity."""

    def __init__(self, integration: Integration, context: ChannelContext) -> None:
        self._options, self._context = integration.options, context
        self._http = HttpSender(self._options.get("http_config"))

    async def send(self, delivery: Delivery) -> None:
        given = {name: self._options[name] for name in ("channel", "username") if self._options.get(name)}
        body = orjson.dumps(payload(make_message(delivery, self._context)) | given)
        answer = await self._http.post(self._options["api_url"], body)
        if answer.strip() != "ok":
            raise DeliveryError(f"Slack answered {plain_words(answer) or 'something else than ok'}", permanent=True)

    async def close(self) -> None:
        await self._http.close()


def payload(message: Message) -> dict[str, Any]:
    """The object that is posted: at most 13 blocks of the 50 that Slack takes."""
    title = f"*{escape(message.title, _MAX_TITLE)}*"
    blocks = [_section("\n".join(filter(None, (title, escape(message.note)))))]
    for alert in message.alerts:
        heading = "" if len(message.alerts) == 1 else f"*{escape(alert.heading, _MAX_TITLE)}*"
        about = "  ·  ".join(filter(None, (alert.when, f"value {alert.value}" if alert.value else "", alert.labels)))
        lines = (heading, escape(alert.text, 1000), escape(about, 1000))
        blocks.append(_section("\n".join(filter(None, lines))))
    fields = [f"*{escape(name)}*\n{escape(text, _MAX_FIELD)}" for name, text in message.facts.items()]
    if fields:
        shown = [{"type": "mrkdwn", "text": field} for field in fields[:_MAX_FIELDS]]
        blocks.append({"type": "section", "fields": shown})
    links = "  ·  ".join(f"<{_url(url)}|{escape(text, 75)}>" for text, url in message.links.items())
    last = "  ·  ".join(filter(None, (f"and {message.more} more" if message.more else "", links)))
    if last and len(last) <= _MAX_TEXT:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": last}]})
    colour = "good" if message.resolved else _COLOURS[message.severity]
    fallback = escape(message.title, _MAX_TITLE)
    return {"text": fallback, "attachments": [{"color": colour, "fallback": fallback, "blocks": blocks}]}


async def send_alert(alert: Alert) -> None:
    """Tell of an alert as the API of `observability.alerts` has it, where `SLACK_WEBHOOK_URL` is set."""
    url = load_settings().notifications.slack_webhook_url
    if url is None:
        return
    labels, ended = {"alertname": alert.name, "severity": alert.severity.value}, alert.resolved_at
    starts_ms, ends_ms = _milliseconds(alert.fired_at), None if ended is None else _milliseconds(ended)
    now_ms = max(round(wall_seconds() * 1000), ends_ms or 0)
    told = NotifiedAlert(labels, {"summary": alert.message}, starts_ms, ends_ms)
    channel = SlackChannel(
        Integration("slack", "slack", options={"api_url": url.get_secret_value()}),
        ChannelContext(lambda *_, **__: None),
    )
    try:
        await channel.send(Delivery("", {}, "", "slack", "first", [told], now_ms, now_ms))
    finally:
        await channel.close()


def _milliseconds(time: datetime) -> int:
    return round(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000)


def escape(text: str, longest: int = _MAX_TEXT) -> str:
    """The text as Slack shows it unchanged, so that none of it calls a channel; cut to so many characters."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= longest:
        return escaped
    return re.sub(r"&\w{0,3}$", "", escaped[: longest - 1]) + "…"  # without half an entity


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:_MAX_TEXT]}}


def _url(url: str) -> str:
    return escape(url).replace("|", "%7C")
