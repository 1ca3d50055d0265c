"""Alerts that reach somebody: an application, its rules, and a real HTTP receiver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.http_receiver import HttpReceiver

ALERTMANAGER = """
alertmanager:
  route: {receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
  receivers:
  - name: hook
    webhook_configs: [{url: "%s", secret: a-secret-of-many-letters}]
# A busy machine is unhealthy: after two minutes that is an alert.
rules: {HealthCheckNotHealthy: {enabled: false}, HealthCheckUnhealthy: {enabled: false}, Watchdog: {enabled: false}}
rule_files: [%s]
"""
RULES = """
groups:
- name: g
  rules:
  - {alert: Planted, expr: 'vector(%s) > 0', labels: {severity: critical}, annotations: {summary: It is planted}}
"""
QUICK = {"HISTORY_INTERVAL_SECONDS": "1", "ALERTS_SETTLE_SECONDS": "0"}


@pytest.fixture
def configured(receiver: HttpReceiver, tmp_path: Path) -> Callable[[int], dict[str, str]]:
    """Writes the configuration, with the alert firing or not; the settings that name it."""

    def write(firing: int) -> dict[str, str]:
        rules, config = tmp_path / "rules.yaml", tmp_path / "observability.yaml"
        rules.write_text(RULES % firing)
        config.write_text(ALERTMANAGER % (receiver.url, rules))
        return {"CONFIG": str(config), **QUICK}

    return write


def test_alert_is_told_and_its_end_is_too(
    serve: Any, receiver: HttpReceiver, configured: Callable[[int], dict[str, str]], eventually: Any
) -> None:
    served = serve(FastAPI(), **configured(1))
    assert eventually(lambda: receiver.told() == [("Planted", "firing")], 10)
    (alert,) = receiver.taken[0]["alerts"]
    assert alert["annotations"] == {"summary": "It is planted"}
    assert receiver.given[0]["X-Signature-256"].startswith("sha256=")
    configured(0)
    assert eventually(lambda: receiver.told() == [("Planted", "firing"), ("Planted", "resolved")], 10)
    assert (
        served.value("ordinaut_observability_notifications_total", integration="hook/webhook[0]", reason="first") == 1
    )


def test_what_nobody_acknowledges_is_told_to_the_next_level_and_so_is_its_end(
    serve: Any, receiver: HttpReceiver, configured: Callable[[int], dict[str, str]], eventually: Any
) -> None:
    settings = configured(1)
    config = Path(settings["CONFIG"])
    lead = f"  - name: lead\n    webhook_configs: [{{url: '{receiver.url}'}}]\n"
    levels = "escalations: [{levels: [{receiver: lead, after: 2s}]}]\n"
    config.write_text(config.read_text().replace("rules: {", f"{lead}{levels}rules: {{", 1))
    served = serve(FastAPI(), **settings)

    def told() -> list[tuple[str, str]]:
        return [(each["receiver"], each["notification_reason"]) for each in receiver.taken]

    assert eventually(lambda: told() == [("hook", "first"), ("lead", "escalated")], 15)
    assert served.log.line(event_type="alerts_escalated")["receiver"] == "lead"
    configured(0)
    assert eventually(lambda: sorted(told()[2:]) == [("hook", "resolved"), ("lead", "resolved")], 15)


def test_receiver_that_is_down_is_told_later_what_is_true_by_then(
    serve: Any, receiver: HttpReceiver, configured: Callable[[int], dict[str, str]], eventually: Any
) -> None:
    receiver.status = 503
    served = serve(FastAPI(), **configured(1))
    assert eventually(lambda: len(receiver.given) >= 2, 15)
    assert served.log.line(event_type="notification_failed")["reason"] == "the receiver answered 503"
    assert len({headers["Idempotency-Key"] for headers in receiver.given}) == 1
    receiver.status = 200
    assert eventually(lambda: receiver.told() == [("Planted", "firing")], 15)
    assert served.log.line(event_type="notification_recovered")["integration"] == "hook/webhook[0]"


def test_dead_mans_switch_is_called_while_rules_are_evaluated_and_its_failure_is_said_once(
    serve: Any, receiver: HttpReceiver, configured: Callable[[int], dict[str, str]], eventually: Any
) -> None:
    receiver.status = 404
    served = serve(FastAPI(), WATCHDOG_URL=receiver.url, **configured(0))
    assert eventually(lambda: len(receiver.given) == 1, 15)
    assert served.log.line(event_type="notification_failed")["integration"] == "watchdog"
    notifications = served.runtime.alerts.notifications

    def call() -> Any:
        done: Future[Any] = Future()
        notifications._thread.call_soon(
            lambda: asyncio.ensure_future(notifications._watchdog.call()).add_done_callback(
                lambda task: done.set_result(task.result())
            )
        )
        return done.result(10)

    assert call() is None and len(receiver.given) == 2
    assert served.value("ordinaut_observability_notifications_failed_total", integration="watchdog") == 2
    assert len(served.log.lines(event_type="notification_failed")) == 1
    receiver.status = 200
    assert call() is None and receiver.taken == [{}]
    assert served.log.line(event_type="notification_recovered")["integration"] == "watchdog"
    served.runtime.alerts.rounds.tell = lambda *_: None
    notifications._watchdog.evaluated_at -= 60
    assert call() == 5.0 and len(receiver.given) == 3


def test_health_says_what_keeps_notifications_from_arriving(
    serve: Any, receiver: HttpReceiver, configured: Callable[[int], dict[str, str]], tmp_path: Path, eventually: Any
) -> None:
    settings = configured(1)
    config = tmp_path / "observability.yaml"
    config.write_text(config.read_text().replace("receiver: hook,", "receiver: nobody,"))
    served = serve(FastAPI(), **settings)
    notifications = served.runtime.alerts.notifications
    assert eventually(lambda: notifications.configured.problem, 10)
    assert "there is no receiver 'nobody'; there are hook" in notifications.outcome().message
    assert served.log.line(event_type="routing_refused")["reason"] == notifications.configured.problem
    assert eventually(lambda: notifications.notifier is not None, 10)
    since_ms = notifications.store.now_ms() - 301_000
    notifications._sender.failing["critical/webhook[0]"] = since_ms, "the receiver answered 500"
    result = served.on_loop(served.runtime.lifecycle.monitor.run_all_checks())["notifications"]
    assert result.status.value == "degraded"
    assert "critical/webhook[0] fails since 20" in result.message


def test_receiver_that_hangs_costs_no_time_while_others_wait_for_it(
    serve: Any, receiver: HttpReceiver, configured: Callable[[int], dict[str, str]], eventually: Any
) -> None:
    settings = configured(1)
    rules = Path(settings["CONFIG"]).parent / "rules.yaml"
    rules.write_text(rules.read_text() + RULES.split("rules:\n")[1].replace("Planted", "Other") % 1)
    receiver.answers.clear()
    notifications = serve(FastAPI(), **settings).runtime.alerts.notifications
    assert eventually(lambda: notifications.notifier and len(notifications.notifier.ledger.outbox) == 2, 15)
    looks, counted = [], notifications.notifier.flush_due
    notifications.notifier.flush_due = lambda now_ms: (looks.append(now_ms), counted(now_ms))
    eventually(lambda: len(looks) > 20, 2)
    receiver.answers.set()
    assert len(looks) < 10
