"""The health monitor's report as JSON: for the scrape tier names and states, for operators everything."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ordinaut_ext_observability.health.lifecycle import Lifecycle
from ordinaut_ext_observability.health.model import UNKNOWN, HealthReport, HealthStatus, Transition
from ordinaut_ext_observability.health.monitor import HealthMonitor


def names_and_states(report: HealthReport, lifecycle: Lifecycle) -> dict[str, Any]:
    """The report without anything that a check said, and what the probes say."""
    live = lifecycle.live()
    status = report.status if live.status == "ok" else HealthStatus.UNHEALTHY
    return {
        "status": status.value,
        "live": live.status,
        "ready": lifecycle.ready(report).status,
        "checks": [
            {
                "name": check.name,
                "status": check.shown_status,
                "required": check.required,
                "stale": check.stale,
                "age_seconds": check.age_seconds,
            }
            for check in report.checks
        ],
        "not_configured": list(report.not_configured),
    }


def everything(monitor: HealthMonitor, lifecycle: Lifecycle) -> dict[str, Any]:
    """The report with what the checks said, and what their statuses were."""
    report = monitor.report()
    answer = names_and_states(report, lifecycle)
    for shown, check in zip(answer["checks"], report.checks, strict=True):
        last = check.last
        shown |= {"message": check.message, "last_result": None}
        if last is not None:
            shown["last_result"] = last.status.value if last.known else UNKNOWN
            shown |= {"duration_ms": last.duration_ms, "checked_at": _instant(last.checked_at), "details": last.details}
        shown["uptime_ratio_24h"] = monitor.uptime_ratio(check.name)
        shown["transitions"] = [_transition(transition) for transition in monitor.history(check.name)]
    return answer


def _transition(transition: Transition) -> dict[str, Any]:
    return {
        "at": _instant(transition.at),
        "from": transition.before.value if transition.before is not None else None,
        "to": transition.after.value if transition.after is not None else UNKNOWN,
        "message": transition.message,
    }


def _instant(at: datetime) -> str:
    """As in log lines: `2026-11-23T22:19:04.123Z`."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
