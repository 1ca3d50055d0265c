"""A notification in words: the same facts for every channel, each of which lays them out as its medium wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, rfc3339
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.alerts.template_functions import humanize_duration
from ordinaut_ext_observability.scrub.text import mask_text

_MAX_SHOWN: Final = 10
"""Alerts that are described; nobody reads further ones in a message."""
_MAX_TEXT: Final = 1000
"""Longest text; no channel takes much more."""
COLOURS: Final = {
    "critical": "#c0392b",
    "error": "#c0392b",
    "warning": "#d68910",
    "info": "#2471a3",
    "resolved": "#1e8449",
}
"""By status, the worst first."""
_WHY: Final = {
    "repeat": "It still fires.",
    "silence_ended": "A silence or a mute interval has ended, and it still fires.",
    "escalated": "Nobody has acknowledged it.",
}

Texts = dict[str, str]
"""Texts by their names, in the order in which they are read."""


@dataclass(frozen=True, slots=True)
class Message:
    """One notification in words. Every text is scrubbed and on one line; none is escaped."""

    status: str
    """`resolved`, or the worst severity: `critical`, `error`, `warning` or `info`."""
    title: str
    """`CRITICAL QueueStalled: Work is due and none is finished`."""
    parts: list[Texts]
    """One for each alert, then what else is known."""
    links: Texts


def make_message(delivery: Delivery, context: ChannelContext) -> Message:
    """The words for a delivery."""
    firing = delivery.firing
    ordered = [*firing, *delivery.resolved]
    shown, more = ordered[:_MAX_SHOWN], len(ordered) - _MAX_SHOWN
    found = {alert.labels.get("severity", "").replace("none", "info") for alert in firing}
    status = next((each for each in COLOURS if each in found), "error") if firing else "resolved"
    facts = {
        "Why again": _WHY.get(delivery.reason, "") if firing else "",
        "Further alerts": str(more) if more > 0 else "",
        **delivery.facts.get("about", {}),
    }
    links = {"All alerts": f"{context.external_url.rstrip('/')}/alerts"} if context.external_url else {}
    for alert in shown:
        url = alert.annotations.get("runbook_url", "")
        if (
            url.startswith(("http://", "https://")) and len(url) <= _MAX_TEXT
        ):  # as its author wrote it: masked, it would lead nowhere
            links[f"Runbook of {_name(alert)}"] = url
    names = ", ".join(dict.fromkeys(map(_name, shown)))
    counts = f"{len(firing)} firing, {len(ordered) - len(firing)} resolved" if firing else f"{len(ordered)} alerts"
    said = _summary(ordered[0]) if len(ordered) == 1 else counts
    title = f"{status.upper()} {names}{f': {said}' if said else ''}"
    parts = [_describe(alert, delivery) for alert in shown] + ([_present(facts)] if any(facts.values()) else [])
    return Message(status, title[:_MAX_TEXT], parts, links | (context.links(delivery) if context.links else {}))


def _describe(alert: NotifiedAlert, delivery: Delivery) -> Texts:
    ended = alert.is_resolved(delivery.now_ms)
    begun_ms, end_ms = alert.starts_at_ms, (alert.ends_at_ms or 0) if ended else delivery.now_ms
    lasted = humanize_duration((end_ms - begun_ms) // 1000)
    others = [f"{name}={text}" for name, text in sorted(alert.labels.items()) if name not in ("alertname", "severity")]
    texts = {
        "Alert": "" if len(delivery.alerts) == 1 else f"{_name(alert)}: {_summary(alert)}".removesuffix(": "),
        "What": "" if ended else alert.annotations.get("description", ""),
        "Value": "" if ended else delivery.facts.get("values", {}).get(alert.fingerprint, ""),
        "Since": "" if ended else f"{_minute(begun_ms)}, for {lasted}",
        "Resolved": f"{_minute(end_ms)}, after {lasted}" if ended else "",
        "Labels": ", ".join(others),
    }
    return _present(texts)


def _name(alert: NotifiedAlert) -> str:
    return _clean(alert.labels.get("alertname") or "alert")


def _summary(alert: NotifiedAlert) -> str:
    return _clean(alert.annotations.get("summary") or alert.annotations.get("message", ""))


def _present(texts: Texts) -> Texts:
    return {name: _clean(text) for name, text in texts.items() if text}


def _clean(text: str) -> str:
    return " ".join(mask_text(text).split())[:_MAX_TEXT]


def _minute(time_ms: int) -> str:
    return f"{rfc3339(time_ms)[:16].replace('T', ' ')} UTC"
