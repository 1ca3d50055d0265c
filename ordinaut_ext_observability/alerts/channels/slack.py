"""Slack, by an incoming webhook. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.channels.http import HttpChannel
from ordinaut_ext_observability.alerts.channels.message import COLOURS, Message, Texts, make_message
from ordinaut_ext_observability.alerts.manager import Alert, AlertStatus
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.scrub.text import mask_text
from ordinaut_ext_observability.settings.load import load_settings

_MAX_TEXT: Final = 3000
"""Longest text of a block, of which Slack takes 50: it refuses the whole message for one character more."""
_MAX_TITLE: Final = 300


class SlackChannel(HttpChannel):
    """Posts one message for each notification; its colour is the severity."""

    expected = "ok"

    async def send(self, delivery: Delivery) -> None:
        await self.send_message(make_message(delivery, self._context))

    async def send_message(self, message: Message) -> None:
        """Post a message. Raises `DeliveryError`."""
        given = {name: self._options[name] for name in ("channel", "username") if self._options.get(name)}
        await self.post(self._options["api_url"], orjson.dumps(payload(message) | given))


async def send_alert(alert: Alert) -> None:
    """Tell of an alert as `observability.alerts` has it, where `SLACK_WEBHOOK_URL` is set. Raises `DeliveryError`."""
    url = load_settings().notifications.slack_webhook_url
    if url is None:
        return
    status = "resolved" if alert.status is AlertStatus.RESOLVED else alert.severity.value
    title = f"{status.upper()} {alert.name}: {mask_text(alert.message)}"
    since = {"Since": alert.fired_at.isoformat(" ", "minutes")}
    channel = SlackChannel(Integration("slack", "slack", options={"api_url": url.get_secret_value()}), ChannelContext())
    try:
        await channel.send_message(Message(status, title, [since], {}))
    finally:
        await channel.close()


def payload(message: Message) -> dict[str, Any]:
    """The object that is posted."""
    title = escape(message.title, _MAX_TITLE)
    links = [f"<{escape(url).replace('|', '%7C')}|{escape(text, 75)}>" for text, url in message.links.items()]
    texts = [f"*{title}*", *map(_lines, message.parts), "  ·  ".join(links)]
    shown = [{"type": "mrkdwn", "text": text} for text in texts if 0 < len(text) <= _MAX_TEXT]
    blocks = [{"type": "section", "text": text} for text in shown]
    return {"text": title, "attachments": [{"color": COLOURS[message.status], "fallback": title, "blocks": blocks}]}


def _lines(texts: Texts) -> str:
    """A line for each; all together are no longer than a block."""
    share = _MAX_TEXT // max(1, len(texts)) - 90
    return "\n".join(f"*{escape(name, 80)}:* {escape(text, share)}" for name, text in texts.items())


def escape(text: str, longest: int = _MAX_TEXT) -> str:
    """The text as Slack shows it unchanged, so that none of it calls a channel; cut to so many characters."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= longest:
        return escaped
    return re.sub(r"&\w{0,3}$", "", escaped[: longest - 1]) + "…"  # without half an entity
