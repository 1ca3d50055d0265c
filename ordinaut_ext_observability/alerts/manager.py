"""Alert rules written in Python, over a context: a dictionary of what is known now.

    manager = AlertManager()
    manager.add_rule(high_queue_depth_rule())
    manager.add_notification_channel("log", print)
    await manager.evaluate_rules({"queue_depth": 250})

An alert is known by its rule's name and severity, never by a value: however often a rule is evaluated, it has one.
"""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from ordinaut_ext_observability.alerts.fingerprint import fingerprint
from ordinaut_ext_observability.background.clock import wall_seconds

__all__ = ["Alert", "AlertManager", "AlertRule", "AlertSeverity", "AlertStatus"]
__all__ += ["database_connectivity_rule", "high_queue_depth_rule", "slack_notification", "task_failure_rate_rule"]

Context = Mapping[str, Any]
"""Facts that conditions and messages are about, such as `{"queue_depth": 250}`."""

_logger = logging.getLogger(__name__)


class AlertSeverity(Enum):
    """Severity of an alert."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertStatus(Enum):
    """State of an alert."""

    FIRING = "firing"
    RESOLVED = "resolved"
    SUPPRESSED = "suppressed"


@dataclass
class Alert:
    """One alert, from its firing on; it stays the same object while its rule's condition stays true."""

    name: str
    severity: AlertSeverity
    status: AlertStatus
    message: str
    fired_at: datetime
    resolved_at: datetime | None = None
    context: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(eq=False)
class AlertRule:
    """A condition over a context, and what to say when it is true."""

    name: str
    condition: Callable[[Context], object]
    severity: AlertSeverity
    message_template: str
    """Filled in by `str.format`: `"{queue_depth} tasks"`."""
    cooldown_minutes: float = 15
    """Minutes after a firing in which there is no other."""
    last_fired: datetime | None = None
    """In UTC where it has no time zone."""

    def __post_init__(self) -> None:
        if inspect.iscoroutinefunction(self.condition):
            raise TypeError(f"the condition of alert rule {self.name} must be a plain function: it is not awaited")
        self.fingerprint = fingerprint({"alertname": self.name, "severity": self.severity.value})

    @property
    def is_cooling_down(self) -> bool:
        """True where the last firing is too recent for another."""
        if self.last_fired is None:
            return False
        last = self.last_fired if self.last_fired.tzinfo else self.last_fired.replace(tzinfo=UTC)
        # A clock that was set back leaves it in the future.
        return timedelta() <= _now() - last < timedelta(minutes=self.cooldown_minutes)

    def should_fire(self, context: Context) -> bool:
        """Tell whether the condition is true and the last firing is longer ago than the cooldown."""
        return not self.is_cooling_down and bool(self.condition(context))

    def create_alert(self, context: Context) -> Alert:
        """The alert of this rule, firing from now on. A template that cannot be filled in is followed by the reason."""
        try:
            message = self.message_template.format_map(context)
        except Exception as error:  # noqa: BLE001 - values of the context have formats of their own
            message = f"{self.message_template} ({type(error).__name__}: {error})"
        firing, context = AlertStatus.FIRING, dict(context)
        return Alert(self.name, self.severity, firing, message, _now(), None, context, self.fingerprint)


_managers: list[weakref.ref[AlertManager]] = []


def known_managers() -> list[AlertManager]:
    """Those that somebody keeps: a process that serves evaluates their rules with the others."""
    return [manager for each in list(_managers) if (manager := each()) is not None]


class AlertManager:
    """Rules, their alerts, and channels that are told when one fires and when it resolves."""

    def __init__(self) -> None:
        self.rules: list[AlertRule] = []
        self.active_alerts: dict[str, Alert] = {}
        """Those that fire, by fingerprint. Within the cooldown of an earlier firing there is none."""
        self.notification_channels: dict[str, Callable[[Alert], Any]] = {}
        self.routing_rules: dict[AlertSeverity, list[str]] = {
            AlertSeverity.INFO: ["log"],
            AlertSeverity.WARNING: ["log", "slack"],
            AlertSeverity.CRITICAL: ["log", "slack", "pagerduty"],
        }
        """Names of the channels told of each severity; those that were not added are passed over."""
        _managers.append(weakref.ref(self, _managers.remove))

    def add_rule(self, rule: AlertRule) -> None:
        """Evaluate a rule from now on, instead of one of the same name and severity."""
        self.rules = [*(other for other in self.rules if other.fingerprint != rule.fingerprint), rule]

    def add_notification_channel(self, name: str, handler: Callable[[Alert], Any]) -> None:
        """Call this function, or coroutine function, with alerts that `routing_rules` sends to this name."""
        self.notification_channels[name] = handler

    def evaluate(self, context: Context) -> Iterator[tuple[AlertRule, bool | None, str]]:
        """Each rule, whether its condition is true (None: it failed), and what is to be said; changes nothing."""
        for rule in self.rules:
            try:
                firing = bool(rule.condition(context))
            except Exception as error:
                _logger.exception("The condition of alert rule %s failed", rule.name)
                yield rule, None, f"the condition failed: {type(error).__name__}"
            else:
                yield rule, firing, rule.create_alert(context).message if firing else ""

    async def evaluate_rules(self, context: Context) -> None:
        """Evaluate every rule, and tell the channels what fires anew and what resolved.

        A rule whose condition fails neither fires nor resolves; the failure is logged.
        """
        for rule, firing, message in self.evaluate(context):
            alert = self.active_alerts.get(rule.fingerprint)
            if firing and alert is not None:
                alert.message, alert.context = message, dict(context)
            elif firing and not rule.is_cooling_down:
                alert = self.active_alerts[rule.fingerprint] = rule.create_alert(context)
                rule.last_fired = alert.fired_at
                await self._notify(alert)
            elif firing is False and alert is not None:
                del self.active_alerts[rule.fingerprint]
                alert.status, alert.resolved_at = AlertStatus.RESOLVED, _now()
                await self._notify(alert)

    async def _notify(self, alert: Alert) -> None:
        for name in self.routing_rules.get(alert.severity, ["log"]):
            handler = self.notification_channels.get(name)
            try:
                sent = handler(alert) if handler else None
                if inspect.isawaitable(sent):
                    await sent
            except Exception:
                _logger.exception("Channel %s failed on alert %s", name, alert.name)


async def slack_notification(alert: Alert) -> None:
    """Tell Slack of an alert by the webhook in `SLACK_WEBHOOK_URL`, where that is set: a channel to be added."""
    from ordinaut_ext_observability.alerts.channels.slack import send_alert

    await send_alert(alert)


def _now() -> datetime:
    return datetime.fromtimestamp(wall_seconds(), UTC)


def high_queue_depth_rule() -> AlertRule:
    """Fires while more than 100 tasks wait: `queue_depth`."""
    message = "High queue depth detected: {queue_depth} tasks pending"
    return AlertRule(
        "high_queue_depth", lambda ctx: ctx.get("queue_depth", 0) > 100, AlertSeverity.WARNING, message, 10
    )


def database_connectivity_rule() -> AlertRule:
    """Fires while the database is known not to be healthy: `database_status`; `database_error` says why."""
    message, healthy = "Database connectivity issue: {database_error}", {None, "healthy"}
    return AlertRule(
        "database_down", lambda ctx: ctx.get("database_status") not in healthy, AlertSeverity.CRITICAL, message, 5
    )


def task_failure_rate_rule() -> AlertRule:
    """Fires while more than 10 % of the last hour's runs failed: `task_failure_rate`, from 0 to 1."""
    message = "High task failure rate: {task_failure_rate:.2%} over last hour"
    return AlertRule(
        "high_task_failure_rate", lambda ctx: ctx.get("task_failure_rate", 0) > 0.1, AlertSeverity.WARNING, message, 30
    )
