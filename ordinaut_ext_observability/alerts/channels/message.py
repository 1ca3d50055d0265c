"""A notification in words: the same facts for every channel, each of which shows as much as its medium wants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.scrub.text import mask_text as scrub

MAX_SHOWN: Final = 10
"""Alerts that are described; nobody reads further ones in a message."""
_SEVERITIES: Final = ("critical", "error", "warning", "info")
_WHY_AGAIN: Final = {
    "repeat": "It still fires.",
    "silence_ended": "A silence or a mute interval has ended, and it still fires.",
    "escalated": "Nobody has acknowledged it.",
    "new_firing": "More alerts fire than before.",
    "some_resolved": "Some alerts are resolved, others still fire.",
}


@dataclass(frozen=True, slots=True)
class Described:
    """One alert in words."""

    name: str
    summary: str
    text: str
    """What the rule says beyond that; may be empty."""
    when: str
    """`since 2026-11-23 22:19 UTC, for 12 min`."""
    value: str
    """`412 (threshold > 100)`; empty where it is not known."""
    labels: str
    """Those that tell it from others of its name."""

    @property
    def heading(self) -> str:
        """Its name and summary."""
        return f"{self.name}: {self.summary}" if self.summary else self.name


@dataclass(frozen=True, slots=True)
class Message:
    """One notification in words. Every text is scrubbed; none is escaped."""

    resolved: bool
    severity: str
    """The worst of its alerts': `critical`, `error`, `warning`, `info`."""
    title: str
    """One line: `CRITICAL QueueStalled: Work is due and none is finished`."""
    note: str
    """Why it is told again; may be empty."""
    alerts: list[Described]
    more: int
    """Alerts that are not described."""
    facts: dict[str, str]
    """What else is known, by its name: `Runs here: api-1, VERSION 2.2.2 …`."""
    links: dict[str, str]
    """URLs by their text."""

    @property
    def lines(self) -> list[str]:
        """The whole message as plain text."""
        lines = [self.note] if self.note else []
        for alert in self.alerts:
            shown = (alert.heading, alert.text, f"Value: {alert.value}" if alert.value else "", alert.labels)
            lines += [*filter(None, (*shown, alert.when[:1].upper() + alert.when[1:])), ""]
        lines += [f"And {self.more} more.", ""] if self.more else []
        lines += [f"{name}: {text}" for name, text in self.facts.items()]
        return [*lines, *(f"{text}: {url}" for text, url in self.links.items())]


def make_message(delivery: Delivery, context: ChannelContext) -> Message:
    """The words for a delivery."""
    firing, resolved = delivery.firing, delivery.resolved
    ordered = [*firing, *resolved]
    severities = {alert.labels.get("severity", "") for alert in firing or resolved}
    severity = next((each for each in _SEVERITIES if each in severities), "info" if "none" in severities else "error")
    described = [_describe(alert, delivery) for alert in ordered[:MAX_SHOWN]]
    facts = {str(name): scrub(str(text)) for name, text in delivery.facts.get("about", {}).items()}
    links = {"All alerts": f"{context.external_url.rstrip('/')}/alerts"} if context.external_url else {}
    for alert in ordered[:MAX_SHOWN]:
        url = alert.annotations.get("runbook_url", "")
        if url.startswith(("http://", "https://")):  # as its author wrote it: masked, it would lead nowhere
            links[f"Runbook of {scrub(alert.labels.get('alertname', 'alert'))}"] = url
    return Message(
        not firing,
        severity,
        _title(severity, described, len(firing), len(resolved)),
        _WHY_AGAIN.get(delivery.reason, "") if firing else "",
        described,
        len(ordered) - len(described),
        facts,
        links | context.links(delivery),
    )


def _title(severity: str, described: list[Described], firing: int, resolved: int) -> str:
    if firing + resolved == 1:
        return f"{severity.upper() if firing else 'RESOLVED'} {described[0].heading}"
    names = ", ".join(dict.fromkeys(alert.name for alert in described))
    if not firing:
        return f"RESOLVED {names}: {resolved} alerts"
    over = f", {resolved} resolved" if resolved else ""
    return f"{severity.upper()} {names}: {firing} firing{over}"


def _describe(alert: NotifiedAlert, delivery: Delivery) -> Described:
    labels, annotations = alert.labels, alert.annotations
    name = scrub(labels.get("alertname", "alert"))
    summary = _one_line(scrub(annotations.get("summary") or annotations.get("message", "")))
    others = {key: value for key, value in labels.items() if key not in ("alertname", "severity")}
    over = alert.is_resolved(delivery.now_ms)
    end_ms = alert.ends_at_ms if over and alert.ends_at_ms is not None else delivery.now_ms
    lasted = show_seconds((end_ms - alert.starts_at_ms) / 1000)
    when = f"since {show_time(alert.starts_at_ms)}, for {lasted}"
    return Described(
        name,
        summary,
        _one_line(scrub(annotations.get("description", ""))),
        f"resolved at {show_time(end_ms)} after {lasted}" if over else when,
        "" if over else scrub(str(delivery.facts.get("values", {}).get(alert.fingerprint, ""))),
        _one_line(scrub(_listed(f"{key}={value}" for key, value in sorted(others.items())))),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def show_time(time_ms: float) -> str:
    """A time to the minute, `2026-11-23 22:19 UTC`."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def show_seconds(seconds: float) -> str:
    """A duration in its two largest units at most: `40 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    parts = (minutes // 1440, minutes // 60 % 24, minutes % 60)
    named = [f"{part} {unit}" for part, unit in zip(parts, ("d", "h", "min"), strict=True) if part]
    return " ".join(named[:2])
