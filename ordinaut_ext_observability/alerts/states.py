"""The states of an alerting rule's alerts, with Prometheus's timing.

    inactive ─ condition holds ─► pending ─ for the rule's `for` ─► firing ─ holds no more ─► resolved, shown 15 minutes

Nothing here reads a clock. Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from ordinaut_ext_observability.alerts.rules import AlertingRule
from ordinaut_ext_observability.history.series import NAME, Labels, labels_of, value_of
from ordinaut_ext_observability.promql.errors import ExecutionError

RESOLVED_RETENTION_MS: Final = 15 * 60_000
"""Time for which a resolved alert is remembered: Prometheus's own, for receivers that missed it."""

StateName = Literal["pending", "firing", "resolved"]
Health = Literal["ok", "err", "unknown"]


class Instance(NamedTuple):
    """An alert that a rule's expression gives now."""

    value: float
    annotations: dict[str, str]


@dataclass(slots=True)
class AlertState:
    """One alert, known by its labels."""

    labels: Labels
    value: float
    annotations: dict[str, str]
    active_at_ms: int
    """When its condition began to hold."""
    state: StateName = "pending"
    fired_at_ms: int | None = None
    resolved_at_ms: int | None = None
    keep_firing_since_ms: int | None = None
    """When its condition ceased to hold, while it fires on all the same."""
    restored: bool = field(default=False, compare=False)
    """True from a start or change of leader until its condition was seen to hold."""

    def label(self, name: str) -> str:
        """The value of a label, such as `alertname` or `severity`; empty where there is none."""
        return value_of(self.labels, name)

    def shift(self, by_ms: int) -> None:
        """Move all times, as when the clock was set."""
        self.active_at_ms += by_ms
        for name in ("fired_at_ms", "resolved_at_ms", "keep_firing_since_ms"):
            if (time_ms := getattr(self, name)) is not None:
                setattr(self, name, time_ms + by_ms)


@dataclass(slots=True)
class RuleState:
    """State of a rule."""

    health: Health = "unknown"
    error: str = ""
    seconds: float = 0.0
    """The duration of the last evaluation, its pauses included."""
    evaluated_at_ms: int | None = None
    alerts: dict[Labels, AlertState] = field(default_factory=dict)

    @property
    def active(self) -> list[AlertState]:
        """Alerts that are pending or firing."""
        return [alert for alert in self.alerts.values() if alert.state != "resolved"]

    @property
    def severest(self) -> str:
        """`firing` or `pending` where an alert is, else `inactive`."""
        states = {alert.state for alert in self.active}
        return "firing" if "firing" in states else "pending" if states else "inactive"

    def copy(self) -> RuleState:
        """The state as it is now: later evaluations do not change it."""
        return replace(self, alerts={labels: replace(alert) for labels, alert in self.alerts.items()})

    def shift(self, by_ms: int) -> None:
        """Move all times, as when the clock was set."""
        if self.evaluated_at_ms is not None:
            self.evaluated_at_ms += by_ms
        for alert in self.alerts.values():
            alert.shift(by_ms)

    def update(
        self,
        rule: AlertingRule,
        now_ms: int,
        found: Mapping[Labels, Instance],
        *,
        limit: int = 0,
        settled: bool = True,
        complete: bool = True,
    ) -> list[AlertState]:
        """Take the result of an evaluation; returns the alerts that it made fire or resolved, as they are now.

        Until all is `settled`, nothing begins to fire and nothing ends. A restored alert does not end before the
        history is `complete`, either: it may lack what the alert is about. Raises ExecutionError, and forgets all
        alerts, where more than `limit` are active.
        """
        changes: list[AlertState] = []
        for labels, instance in found.items():
            alert = self.alerts.get(labels)
            if alert is None or alert.state == "resolved":
                alert = self.alerts[labels] = AlertState(labels, instance.value, instance.annotations, now_ms)
            alert.value, alert.annotations = instance.value, instance.annotations
            alert.keep_firing_since_ms, alert.restored = None, False
            if alert.state == "pending" and settled and now_ms - alert.active_at_ms >= rule.for_ms:
                alert.state, alert.fired_at_ms = "firing", now_ms
                changes.append(replace(alert))
        missing = [alert for labels, alert in self.alerts.items() if labels not in found]
        ending = [alert for alert in missing if settled and (complete or not alert.restored)]
        changes += [replace(alert) for alert in ending if self._end(alert, rule, now_ms)]
        if 0 < limit < (active := len(self.active)):
            self.alerts.clear()
            raise ExecutionError(f"exceeded limit of {limit} with {active} alerts")
        return changes

    def _end(self, alert: AlertState, rule: AlertingRule, now_ms: int) -> bool:
        """Go on with an alert whose condition does not hold; True where that resolves it."""
        if alert.state == "firing":
            if alert.keep_firing_since_ms is None:
                alert.keep_firing_since_ms = now_ms
            if now_ms - alert.keep_firing_since_ms < rule.keep_firing_for_ms:
                return False
            alert.state, alert.resolved_at_ms = "resolved", now_ms
            return True
        if alert.state == "pending" or now_ms - (alert.resolved_at_ms or 0) > RESOLVED_RETENTION_MS:
            del self.alerts[alert.labels]
        return False


def samples_of(alert: AlertState) -> Iterator[tuple[Labels, float]]:
    """The series `ALERTS` and `ALERTS_FOR_STATE` of an alert that is pending or firing."""
    labels = dict(alert.labels)
    yield labels_of({**labels, NAME: "ALERTS", "alertstate": alert.state}), 1.0
    yield labels_of({**labels, NAME: "ALERTS_FOR_STATE"}), float(alert.active_at_ms // 1000)
