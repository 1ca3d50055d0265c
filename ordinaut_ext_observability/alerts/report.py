"""Rules and alerts as they are shown: ready to be written as JSON, in the fields of Prometheus's HTTP API."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ordinaut_ext_observability.alerts.evaluation import Engine
from ordinaut_ext_observability.alerts.fingerprint import fingerprint
from ordinaut_ext_observability.alerts.rules import AlertingRule, Rule, RuleGroup, TemplatedText
from ordinaut_ext_observability.alerts.states import AlertState, RuleState, samples_of
from ordinaut_ext_observability.history.series import NAME, Labels
from ordinaut_ext_observability.logs.events import timestamp

Shown = dict[str, Any]

AlertSeries = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Labels and values of the series of alerts, by the names in `ALERT_SERIES`."""

ALERT_SERIES = {
    "ALERTS": "Alerts that are pending or firing.",
    "ALERTS_FOR_STATE": "When the condition of each alert began to hold, in seconds since 1970.",
}
"""Help texts of the series that Prometheus has of alerts."""

_SEVEREST = ("firing", "pending", "inactive")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is known at one moment. Nothing in it changes any more."""

    groups: tuple[Shown, ...] = ()
    """Groups as in `/api/v1/rules`; a rule has also `notes`, texts about what its result may lack."""
    alerts: tuple[Shown, ...] = ()
    """Alerts as in `/api/v1/alerts`, those included that are resolved, with further fields."""
    samples: Mapping[Labels, float] = field(default_factory=dict)
    """The series of alerts."""

    def series(self) -> AlertSeries:
        """The series of alerts by name, with the labels of each."""
        named: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in ALERT_SERIES}
        for labels, value in self.samples.items():
            others = dict(labels)
            named[others.pop(NAME)].append((others, value))
        return named

    def count_rules(self) -> dict[tuple[str, ...], float]:
        """Rules by their health."""
        healths = [rule["health"] for group in self.groups for rule in group["rules"]]
        return {(health,): healths.count(health) for health in ("ok", "err", "unknown")}

    def count_alerts(self) -> dict[tuple[str, ...], float]:
        """Alerts by severity and state; 0 for severities that rules have and alerts do not."""
        rules = [rule for group in self.groups for rule in group["rules"] if rule["type"] == "alerting"]
        severities = {text for rule in rules if "{{" not in (text := rule["labels"].get("severity", ""))}
        counts: dict[tuple[str, ...], float] = {
            (severity, state): 0.0 for severity in severities for state in _SEVEREST[:2]
        }
        for alert in self.alerts:
            if alert["state"] in _SEVEREST[:2]:
                key = (alert["severity"], alert["state"])
                counts[key] = counts.get(key, 0.0) + 1
        return counts


def build_report(engine: Engine, now_ms: int) -> Generator[None, None, Report]:
    """All groups, rules and alerts as they stand now. Yields where there may be a pause."""
    groups: list[Shown] = []
    alerts: list[Shown] = []
    samples: dict[Labels, float] = {}
    for group in engine.groups():
        states = [engine.state_of(group, rule) for rule in group.rules]
        rules = []
        for rule, state in zip(group.rules, states, strict=True):
            rules.append(_rule(rule, state, engine.notes_on(rule, now_ms)))
            alerts += [_alert_in_full(rule.name, alert) for alert in state.alerts.values()]
            samples |= {labels: value for alert in state.active for labels, value in samples_of(alert)}
            yield
        groups.append(_group(group, engine.interval_ms, rules, states))
    return Report(tuple(groups), tuple(alerts), samples)


def _group(group: RuleGroup, interval_ms: int, rules: list[Shown], states: list[RuleState]) -> Shown:
    """A group with its rules."""
    times = [state.evaluated_at_ms for state in states if state.evaluated_at_ms is not None]
    return {
        "name": group.name,
        "file": group.file,
        "interval": (group.interval_ms or interval_ms) / 1000,
        "limit": group.limit,
        "rules": rules,
        "evaluationTime": sum(state.seconds for state in states),
        "lastEvaluation": show_time(max(times, default=None)),
    }


def _rule(rule: Rule, state: RuleState, notes: list[str]) -> Shown:
    """A rule with its active alerts; templates as they are written."""
    shown: Shown = {"name": rule.name, "query": rule.query, "labels": {n: _text(t) for n, t in rule.labels.items()}}
    if isinstance(rule, AlertingRule):
        active = state.active
        states = {alert.state for alert in active}
        shown |= {
            "state": next((name for name in _SEVEREST if name in states), "inactive"),
            "duration": rule.for_ms / 1000,
            "keepFiringFor": rule.keep_firing_for_ms / 1000,
            "annotations": {name: _text(text) for name, text in rule.annotations.items()},
            "alerts": [_alert(alert) for alert in active],
        }
    shown |= {
        "health": state.health,
        **({"lastError": state.error} if state.error else {}),
        "evaluationTime": state.seconds,
        "lastEvaluation": show_time(state.evaluated_at_ms),
        "type": "alerting" if isinstance(rule, AlertingRule) else "recording",
    }
    return shown | ({"notes": notes} if notes else {})


def _alert(alert: AlertState) -> Shown:
    """An alert as Prometheus's API has it."""
    since = alert.keep_firing_since_ms
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "state": alert.state,
        "activeAt": show_time(alert.active_at_ms),
        **({"keepFiringSince": show_time(since)} if since is not None else {}),
        "value": show_value(alert.value),
    }


def _alert_in_full(name: str, alert: AlertState) -> Shown:
    """An alert with everything that is known of it; what was firing and is no more is `resolved`."""
    labels = dict(alert.labels)
    return _alert(alert) | {
        "name": name,
        "severity": labels.get("severity", ""),
        "state": "resolved" if alert.state == "inactive" else alert.state,
        "firedAt": show_time(alert.fired_at_ms) if alert.fired_at_ms is not None else None,
        "resolvedAt": show_time(alert.resolved_at_ms) if alert.resolved_at_ms is not None else None,
        "fingerprint": fingerprint(labels),
    }


def show_time(time_ms: int | None) -> str:
    """An instant as in RFC 3339; the year 1 for never, as Prometheus has it."""
    return timestamp(time_ms / 1000) if time_ms is not None else "0001-01-01T00:00:00Z"


def show_value(value: float) -> str:
    """The shortest decimal that is this number, with an exponent, as Prometheus writes values of alerts: `1.5e+01`."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    power = int(exponent) + len(text) - 1 if text else 0
    text = text.rstrip("0") or "0"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{'-' if sign else ''}{text[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _text(text: str | TemplatedText) -> str:
    return text.text if isinstance(text, TemplatedText) else text
