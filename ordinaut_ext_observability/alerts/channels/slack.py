"""Slack, by an incoming webhook. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from ordinaut_ext_observability.alerts.channels.http import HttpChannel, HttpSender, words
from ordinaut_ext_observability.alerts.channels.message import Message, Texts, make_message
from ordinaut_ext_observability.alerts.manager import Alert, AlertStatus
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.scrub.text import mask_text
from ordinaut_ext_observability.settings.load import load_settings

_COLOURS: Final = {"critical": "danger", "error": "danger", "warning": "warning", "info": "#439fe0"}
_MAX_TEXT: Final = 3000
"""Longest text of a block, of which Slack takes 50: it refuses the whole message for one character more."""
_MAX_TITLE: Final = 300


class SlackChannel(HttpChannel):
    """Posts one message for each notification; its colour is the severity."""

    async def send(self, delivery: Delivery) -> None:
        given = {name: self._options[name] for name in ("channel", "username") if self._options.get(name)}
        await _post(self._http, self._options["api_url"], payload(make_message(delivery, self._context)) | given)


async def send_alert(alert: Alert) -> None:
    """Tell of an alert as `observability.alerts` has it, where `SLACK_WEBHOOK_URL` is set. Raises `DeliveryError`."""
    url, resolved = load_settings().notifications.slack_webhook_url, alert.status is AlertStatus.RESOLVED
    if url is None:
        return
    title = f"{'RESOLVED' if resolved else alert.severity.value.upper()} {alert.name}: {mask_text(alert.message)}"
    since = {"Since": alert.fired_at.isoformat(" ", "minutes")}
    http = HttpSender()
    try:
        message = Message(resolved, alert.severity.value, title, [], since, {})
        await _post(http, url.get_secret_value(), payload(message))
    finally:
        await http.close()


async def _post(http: HttpSender, url: str, content: dict[str, Any]) -> None:
    answer = (await http.post(url, orjson.dumps(content))).strip()
    if answer != "ok":
        raise DeliveryError(f"Slack did not answer ok{words(answer)}", permanent=True)


def payload(message: Message) -> dict[str, Any]:
    """The object that is posted."""
    title = escape(message.title, _MAX_TITLE)
    links = [f"<{escape(url).replace('|', '%7C')}|{escape(text, 75)}>" for text, url in message.links.items()]
    texts = [f"*{title}*", *map(_lines, (*message.alerts, message.facts)), "  ·  ".join(links)]
    shown = [{"type": "mrkdwn", "text": text} for text in texts if 0 < len(text) <= _MAX_TEXT]
    blocks = [{"type": "section", "text": text} for text in shown]
    colour = "good" if message.resolved else _COLOURS[message.severity]
    return {"text": title, "attachments": [{"color": colour, "fallback": title, "blocks": blocks}]}


def _lines(texts: Texts) -> str:
    """A line for each; all together are no longer than a block."""
    share = _MAX_TEXT // max(1, len(texts)) - 40
    return "\n".join(f"*{escape(name, 30)}:* {escape(text, share)}" for name, text in texts.items())


def escape(text: str, longest: int = _MAX_TEXT) -> str:
    """The text as Slack shows it unchanged, so that none of it calls a channel; cut to so many characters."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= longest:
        return escaped
    return re.sub(r"&\w{0,3}$", "", escaped[: longest - 1]) + "…"  # without half an entity
