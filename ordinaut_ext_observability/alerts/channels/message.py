"""A notification in words: the same facts for every channel, each of which shows as much as its medium wants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.alerts.template_functions import humanize_duration
from ordinaut_ext_observability.scrub.text import mask_text

_MAX_SHOWN: Final = 10
"""Alerts that are described; nobody reads further ones in a message."""
_SEVERITIES: Final = {"critical": "critical", "error": "error", "warning": "warning", "info": "info", "none": "info"}
_WHY: Final = {
    "repeat": "It still fires.",
    "silence_ended": "A silence or a mute interval has ended, and it still fires.",
    "escalated": "Nobody has acknowledged it.",
    "new_firing": "More alerts fire than before.",
    "some_resolved": "Some alerts are resolved, others still fire.",
}

Texts = dict[str, str]
"""Texts by their names, in the order in which they are read."""


@dataclass(frozen=True, slots=True)
class Message:
    """One notification in words. Every text is scrubbed and on one line; none is escaped."""

    resolved: bool
    severity: str
    """The worst one: `critical`, `error`, `warning` or `info`."""
    title: str
    """`CRITICAL QueueStalled: Work is due and none is finished`."""
    alerts: list[Texts]
    facts: Texts
    links: Texts

    @property
    def text(self) -> str:
        """The whole of it."""
        parts = [*self.alerts, self.facts, self.links]
        shown = ["\n".join(f"{name}: {text}" for name, text in part.items()) for part in parts if part]
        return "\n\n".join((self.title, *shown))


def make_message(delivery: Delivery, context: ChannelContext) -> Message:
    """The words for a delivery."""
    firing = delivery.firing
    ordered = [*firing, *delivery.resolved]
    shown, more = ordered[:_MAX_SHOWN], len(ordered) - _MAX_SHOWN
    found = {_SEVERITIES.get(alert.labels.get("severity", ""), "error") for alert in firing or ordered}
    severity = next(each for each in _SEVERITIES if each in found)
    texts = {
        "Why again": _WHY.get(delivery.reason, "") if firing else "",
        "Further alerts": str(more) if more > 0 else "",
        **delivery.facts.get("about", {}),
    }
    links = {"All alerts": f"{context.external_url.rstrip('/')}/alerts"} if context.external_url else {}
    for alert in shown:
        url = alert.annotations.get("runbook_url", "")
        if url.startswith(("http://", "https://")):  # as its author wrote it: masked, it would lead nowhere
            links[f"Runbook of {_clean(alert.labels.get('alertname', ''))}"] = url
    return Message(
        not firing,
        severity,
        _title(severity if firing else "resolved", ordered, len(firing)),
        [_describe(alert, delivery) for alert in shown],
        _present(texts),
        links | context.links(delivery),
    )


def _title(status: str, alerts: list[NotifiedAlert], firing: int) -> str:
    names = ", ".join(dict.fromkeys(_clean(alert.labels.get("alertname", "alert")) for alert in alerts[:_MAX_SHOWN]))
    counts = f"{firing} firing, {len(alerts) - firing} resolved" if firing else f"{len(alerts)} alerts"
    said = _summary(alerts[0]) if len(alerts) == 1 else counts
    return f"{status.upper()} {names}{f': {said}' if said else ''}"


def _describe(alert: NotifiedAlert, delivery: Delivery) -> Texts:
    ended = alert.is_resolved(delivery.now_ms)
    end_ms = (alert.ends_at_ms or 0) if ended else delivery.now_ms
    lasted = humanize_duration((end_ms - alert.starts_at_ms) // 1000)
    others = [
        f"{name}={value}" for name, value in sorted(alert.labels.items()) if name not in ("alertname", "severity")
    ]
    texts = {
        "Alert": f"{alert.labels.get('alertname', '')}: {_summary(alert)}".strip(": "),
        "What": alert.annotations.get("description", ""),
        "Value": "" if ended else str(delivery.facts.get("values", {}).get(alert.fingerprint, "")),
        "Resolved" if ended else "Since": f"{show_time(end_ms)}, after {lasted}"
        if ended
        else f"{show_time(alert.starts_at_ms)}, for {lasted}",
        "Labels": ", ".join(others),
    }
    return _present(texts)


def _summary(alert: NotifiedAlert) -> str:
    return _clean(alert.annotations.get("summary") or alert.annotations.get("message", ""))


def _present(texts: Texts) -> Texts:
    return {name: _clean(text) for name, text in texts.items() if text}


def _clean(text: str) -> str:
    return " ".join(mask_text(text).split())


def show_time(time_ms: float) -> str:
    """A time to the minute, `2026-11-23 22:19 UTC`."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
