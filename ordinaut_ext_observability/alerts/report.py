"""Rules and alerts as they stood at one moment, for whoever shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ordinaut_ext_observability.alerts.evaluation import Engine
from ordinaut_ext_observability.alerts.rules import AlertingRule, Rule, RuleGroup
from ordinaut_ext_observability.alerts.states import AlertState, RuleState, samples_of
from ordinaut_ext_observability.history.series import NAME, Labels

AlertSeries = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Labels and values of the series of alerts, by the names in `ALERT_SERIES`."""

ALERT_SERIES = {
    "ALERTS": "Alerts that are pending or firing.",
    "ALERTS_FOR_STATE": "When the condition of each alert began to hold, in seconds since 1970.",
}
"""Help texts of the series that Prometheus has of alerts."""


_COUNTED = ("firing", "pending")


class RuleReport(NamedTuple):
    """A rule and how it stood."""

    rule: Rule
    state: RuleState
    notes: list[str]
    """Texts about what its result may lack."""


class GroupReport(NamedTuple):
    """A group with its rules."""

    group: RuleGroup
    interval_ms: int
    rules: list[RuleReport]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is known at one moment. Nothing in it changes any more."""

    groups: tuple[GroupReport, ...] = ()
    samples: Mapping[Labels, float] = field(default_factory=dict)
    """The series of alerts."""

    def rules(self) -> Iterator[RuleReport]:
        """The rules of all groups."""
        return (rule for group in self.groups for rule in group.rules)

    def alerts(self) -> Iterator[AlertState]:
        """The alerts of all rules, those included that are resolved."""
        return (alert for rule in self.rules() for alert in rule.state.alerts.values())

    def series(self) -> AlertSeries:
        """The series of alerts by name, with the labels of each."""
        named: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in ALERT_SERIES}
        for labels, value in self.samples.items():
            others = dict(labels)
            named[others.pop(NAME)].append((others, value))
        return named

    def count_rules(self) -> dict[tuple[str, ...], float]:
        """Rules by their health."""
        healths = Counter(rule.state.health for rule in self.rules())
        return {(health,): healths[health] for health in ("ok", "err", "unknown")}

    def count_alerts(self) -> dict[tuple[str, ...], float]:
        """Alerts by severity and state; 0 for severities that rules have and alerts do not."""
        labels = [rule.labels for rule, *_ in self.rules() if isinstance(rule, AlertingRule)]
        severities = {text for each in labels if "{{" not in (text := str(each.get("severity", "")))}
        counts: dict[tuple[str, ...], float] = {(each, state): 0 for each in severities for state in _COUNTED}
        return counts | Counter(
            (alert.label("severity"), alert.state) for rule in self.rules() for alert in rule.state.active
        )


def build_report(engine: Engine, now_ms: int) -> Generator[None, None, Report]:
    """All groups, rules and alerts as they stand now. Yields where there may be a pause."""
    groups: list[GroupReport] = []
    samples: dict[Labels, float] = {}
    for group in engine.groups():
        groups.append(GroupReport(group, group.interval_ms or engine.interval_ms, []))
        for rule in group.rules:
            state = engine.state_of(group, rule).copy()
            groups[-1].rules.append(RuleReport(rule, state, engine.notes_on(rule, now_ms)))
            samples |= {labels: value for alert in state.active for labels, value in samples_of(alert)}
            yield
    return Report(tuple(groups), samples)
