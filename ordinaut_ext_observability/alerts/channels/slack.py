"""Slack, by an incoming webhook. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any, Final

import orjson

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.channels.http import HttpSender, plain_words
from ordinaut_ext_observability.alerts.channels.message import Message, Texts, make_message
from ordinaut_ext_observability.alerts.manager import Alert
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.settings.load import load_settings

_COLOURS: Final = {"critical": "danger", "error": "danger", "warning": "warning", "info": "#439fe0"}
_MAX_TEXT: Final = 3000
"""Longest text of a block, of which Slack takes 50: it refuses the whole message for one character more."""
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
    """The object that is posted."""
    title = escape(message.title, _MAX_TITLE)
    links = [f"<{escape(url).replace('|', '%7C')}|{escape(text, 75)}>" for text, url in message.links.items()]
    texts = [f"*{title}*", *map(_lines, (*message.alerts, message.facts)), "  ·  ".join(links)]
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in texts if 0 < len(text) <= _MAX_TEXT
    ]
    colour = "good" if message.resolved else _COLOURS[message.severity]
    return {"text": title, "attachments": [{"color": colour, "fallback": title, "blocks": blocks}]}


def _lines(texts: Texts) -> str:
    """One line for each, all together no longer than a block; what an alert is called needs no name."""
    share = _MAX_TEXT // max(1, len(texts)) - 40
    return "\n".join(
        f"*{escape(text, share)}*" if name == "Alert" else f"{name}: {escape(text, share)}"
        for name, text in texts.items()
    )


def escape(text: str, longest: int = _MAX_TEXT) -> str:
    """The text as Slack shows it unchanged, so that none of it calls a channel; cut to so many characters."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= longest:
        return escaped
    return re.sub(r"&\w{0,3}$", "", escaped[: longest - 1]) + "…"  # without half an entity


async def send_alert(alert: Alert) -> None:
    """Tell of an alert as `observability.alerts` has it, where `SLACK_WEBHOOK_URL` is set. Raises `DeliveryError`."""
    url = load_settings().notifications.slack_webhook_url
    if url is None:
        return
    starts_ms, ends_ms = (
        None if time is None else round(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000)
        for time in (alert.fired_at, alert.resolved_at)
    )
    now_ms, labels = round(wall_seconds() * 1000), {"alertname": alert.name, "severity": alert.severity.value}
    told = NotifiedAlert(labels, {"summary": alert.message}, starts_ms or now_ms, ends_ms)
    options = {"api_url": url.get_secret_value()}
    channel = SlackChannel(Integration("slack", "slack", options=options), ChannelContext(lambda *_, **__: None))
    try:
        await channel.send(Delivery("", {}, "", "slack", "first", [told], now_ms, max(now_ms, ends_ms or 0)))
    finally:
        await channel.close()
