"""Rules written in Python, their alerts and who is told of them."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

import ordinaut_ext_observability
from observability import alerts
from observability.alerts import (
    AlertManager,
    AlertRule,
    AlertSeverity,
    AlertStatus,
    database_connectivity_rule,
    high_queue_depth_rule,
    task_failure_rate_rule,
)


class Host:
    """A manager of one rule, and what its channels were told."""

    def __init__(self, **rule):
        self.manager = AlertManager()
        self.rule = AlertRule(
            **{
                "name": "slow",
                "condition": lambda context: context["seconds"] > 1,
                "severity": AlertSeverity.WARNING,
                "message_template": "{seconds} s",
                **rule,
            }
        )
        self.told = []
        self.manager.add_rule(self.rule)
        self.manager.add_notification_channel(
            "log", lambda alert: self.told.append((alert.status.value, alert.message))
        )

    def evaluate(self, **context):
        asyncio.run(self.manager.evaluate_rules(context))
        return self.manager.active_alerts.get(self.rule.fingerprint)


def test_a_rule_fires_above_its_threshold_and_not_within_its_cooldown():
    rule = AlertRule(
        name="test_alert",
        condition=lambda ctx: ctx.get("error_rate", 0) > 0.1,
        severity=AlertSeverity.WARNING,
        message_template="Error rate too high: {error_rate}",
    )
    assert not rule.should_fire({"error_rate": 0.05})
    assert rule.should_fire({"error_rate": 0.15})
    now = datetime.now(UTC)
    rule.last_fired = now.replace(tzinfo=None) - timedelta(minutes=5)  # without a zone it is UTC
    assert not rule.should_fire({"error_rate": 0.15})
    rule.last_fired = now - timedelta(minutes=15)
    assert rule.should_fire({"error_rate": 0.15})
    rule.last_fired = now + timedelta(hours=1)  # the clock was set back
    assert rule.should_fire({"error_rate": 0.15})


def test_an_alert_is_the_same_one_while_its_rule_stays_true_and_is_told_once():
    host = Host()
    first = host.evaluate(seconds=2)
    again = host.evaluate(seconds=3)
    assert first is again
    assert (again.message, again.context) == ("3 s", {"seconds": 3})
    assert host.told == [("firing", "2 s")]


def test_its_identity_is_its_name_and_severity_as_alertmanager_computes_it():
    alert = Host(name="QueueStalled", severity=AlertSeverity.CRITICAL).evaluate(seconds=2)
    assert alert.fingerprint == "19682746f0f6a28c"


def test_an_alert_resolves_within_the_cooldown_too_and_its_channels_are_told():
    host = Host()
    alert = host.evaluate(seconds=2)
    assert host.evaluate(seconds=0) is None
    assert alert.status is AlertStatus.RESOLVED
    assert alert.resolved_at >= alert.fired_at
    assert host.told == [("firing", "2 s"), ("resolved", "2 s")]


def test_a_rule_fires_no_second_time_before_its_cooldown_ends():
    host = Host()
    host.evaluate(seconds=2)
    host.evaluate(seconds=0)
    host.told.clear()
    assert host.evaluate(seconds=4) is None
    assert host.told == []
    host.rule.last_fired -= timedelta(minutes=15)
    assert host.evaluate(seconds=6).status is AlertStatus.FIRING
    assert host.told == [("firing", "6 s")]


def test_a_condition_that_fails_neither_fires_nor_resolves_and_is_logged(caplog):
    host = Host()
    alert = host.evaluate(seconds=2)
    assert host.evaluate() is alert
    assert alert.status is AlertStatus.FIRING
    assert "slow" in caplog.text
    assert list(host.manager.evaluate({})) == [(host.rule, None, "the condition failed: KeyError")]


def test_a_failing_channel_is_logged_and_the_next_is_told(caplog):
    host = Host(severity=AlertSeverity.CRITICAL)
    told = []

    async def page(alert):
        told.append(alert.name)

    host.manager.add_notification_channel("slack", lambda alert: 1 / 0)
    host.manager.add_notification_channel("pagerduty", page)
    host.evaluate(seconds=2)
    assert told == ["slow"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "Channel slack failed on alert slow"
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{seconds:.1f} s", "2.0 s"),
        ("{gone:.2%}", "{gone:.2%} (KeyError: 'gone')"),
        ("{", "{ (ValueError: Single '{' encountered in format string)"),
    ],
)
def test_a_message_can_be_read_whatever_the_context_lacks(template, message):
    assert Host(message_template=template).evaluate(seconds=2).message == message


def test_adding_a_rule_again_replaces_it():
    host = Host()
    host.manager.add_rule(AlertRule("slow", lambda context: False, AlertSeverity.WARNING, ""))
    assert [firing for _, firing, _ in host.manager.evaluate({})] == [False]


def test_a_condition_that_would_have_to_be_awaited_is_refused():
    async def condition(context):
        return False

    with pytest.raises(TypeError, match="condition of alert rule slow must be a plain function"):
        Host(condition=condition)


@pytest.mark.parametrize(
    ("rule", "quiet", "loud", "message"),
    [
        (
            high_queue_depth_rule(),
            {"queue_depth": 100},
            {"queue_depth": 101},
            "High queue depth detected: 101 tasks pending",
        ),
        (
            database_connectivity_rule(),
            {"database_status": "healthy"},
            {"database_status": "unhealthy", "database_error": "gone"},
            "Database connectivity issue: gone",
        ),
        (
            task_failure_rate_rule(),
            {"task_failure_rate": 0.1},
            {"task_failure_rate": 0.25},
            "High task failure rate: 25.00% over last hour",
        ),
    ],
)
def test_the_three_rules_fire_above_their_thresholds_and_not_on_what_is_unknown(rule, quiet, loud, message):
    assert (rule.should_fire({}), rule.should_fire(quiet), rule.should_fire(loud)) == (False, False, True)
    assert rule.create_alert(loud).message == message


def test_all_names_are_those_of_the_package_too():
    assert all(getattr(ordinaut_ext_observability, name) is getattr(alerts, name) for name in alerts.__all__)
