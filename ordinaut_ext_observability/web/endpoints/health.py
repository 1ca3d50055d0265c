"""Probes, and the health monitor's report: for the scrape tier names and states, for operators everything."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.health.lifecycle import Lifecycle
from ordinaut_ext_observability.health.model import UNKNOWN, CheckReport, HealthStatus
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.web.answers import json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

SETTLE_SECONDS = 0.5  # longest wait of the first probes after a start for the first results of the checks


async def _live(request: Request) -> Response:
    return _probe_response(context_of(request).lifecycle.why_not_live())


async def _ready(request: Request) -> Response:
    return _probe_response((await _settled(request)).why_not_ready())


async def _startup(request: Request) -> Response:
    return _probe_response(context_of(request).lifecycle.why_not_started())


def _probe_response(why_not: str) -> Response:
    return json_response({"status": _probe_status(why_not)}, 503 if why_not else 200)


def _probe_status(why_not: str) -> str:
    return "unavailable" if why_not else "ok"


async def _health(request: Request) -> Response:
    answer = describe_health(await _settled(request), detailed=False)
    return json_response(answer, 503 if answer["status"] == "unhealthy" else 200)


async def _checks(request: Request, *, refresh: bool = False) -> Response:
    lifecycle = await _settled(request)
    if refresh:
        await lifecycle.monitor.run_all_checks()
    return json_response(describe_health(lifecycle, detailed=True))


async def _settled(request: Request) -> Lifecycle:
    """The process's life, once the checks have had time for their first results."""
    lifecycle = context_of(request).lifecycle
    await lifecycle.monitor.settle(SETTLE_SECONDS)
    return lifecycle


def describe_health(lifecycle: Lifecycle, *, detailed: bool) -> dict[str, Any]:
    """The checks and what the probes say; in detail what the checks said, too, and what their statuses were."""
    report, why_not_live = lifecycle.monitor.report(), lifecycle.why_not_live()
    status = HealthStatus.UNHEALTHY if why_not_live else report.status
    return {
        "status": status.value,
        "live": _probe_status(why_not_live),
        "ready": _probe_status(lifecycle.why_not_ready(report)),
        "checks": [
            {
                "name": check.name,
                "status": check.shown_status,
                "required": check.required,
                "stale": check.stale,
                "age_seconds": check.age_seconds,
                **(_details(check, lifecycle.monitor) if detailed else {}),
            }
            for check in report.checks
        ],
        "not_configured": list(report.not_configured),
    }


def _details(check: CheckReport, monitor: HealthMonitor) -> dict[str, Any]:
    last = check.last
    shown: dict[str, Any] = {"message": check.message, "last_result": None}
    if last is not None:
        shown["last_result"] = last.status.value if last.known else UNKNOWN
        shown |= {"duration_ms": last.duration_ms, "checked_at": _instant(last.checked_at), "details": last.details}
    shown["uptime_ratio_24h"] = monitor.uptime_ratio(check.name)
    shown["transitions"] = [
        {
            "at": _instant(transition.at),
            "from": transition.before.value if transition.before is not None else None,
            "to": transition.after.value if transition.after is not None else UNKNOWN,
            "message": transition.message,
        }
        for transition in monitor.history(check.name)
    ]
    return shown


def _instant(at: datetime) -> str:
    """As in log lines: `2026-11-23T22:19:04.123Z`."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_PROBE = {200: "Yes.", 503: "No."}
_READY = "started, not stopping, event loop answers, no required check unhealthy or unknown"
_HEALTH = {200: "No required check is unhealthy.", 503: "A required check is unhealthy."}
_CHECKS = "what the checks said, with their history; ?refresh=true runs them first"

ENDPOINTS = (
    Endpoint("/health/live", "public", _live, "the event loop answers", _PROBE),
    Endpoint("/health/ready", "public", _ready, _READY, _PROBE),
    Endpoint("/health/startup", "public", _startup, "the host has finished starting", _PROBE),
    Endpoint("/health", "scrape", _health, "names, states and ages of all checks", _HEALTH),
    Endpoint("/health/checks", "operator", _checks, _CHECKS, {200: "The checks.", 422: None}),
)
