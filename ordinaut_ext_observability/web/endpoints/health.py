"""Probes, and the report of the health monitor."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.health.lifecycle import ProbeResult
from ordinaut_ext_observability.web.answers import describe_error, describe_json, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.health_report import everything, names_and_states

SETTLE_SECONDS = 0.5
"""Longest wait of the first probes after a start for the first results of the checks."""


async def _live(request: Request) -> Response:
    return _probe_response(context_of(request).lifecycle.live())


async def _ready(request: Request) -> Response:
    context = context_of(request)
    await context.monitor.settle(SETTLE_SECONDS)
    return _probe_response(context.lifecycle.ready())


async def _startup(request: Request) -> Response:
    return _probe_response(context_of(request).lifecycle.startup())


def _probe_response(result: ProbeResult) -> Response:
    return json_response({"status": result.status}, result.http_status)


async def _health(request: Request) -> Response:
    context = context_of(request)
    await context.monitor.settle(SETTLE_SECONDS)
    answer = names_and_states(context.monitor.report(), context.lifecycle)
    return json_response(answer, 503 if answer["status"] == "unhealthy" else 200)


async def _checks(request: Request, *, refresh: bool = False) -> Response:
    context = context_of(request)
    await context.monitor.settle(SETTLE_SECONDS)
    if refresh:
        await context.monitor.run_all_checks()
    return json_response(everything(context.monitor, context.lifecycle))


_PROBE_ANSWERS = {200: describe_json("Yes.", "status"), 503: describe_json("No.", "status")}
_PROBES = (
    ("/health/live", _live, "the event loop answers"),
    ("/health/ready", _ready, "started, not stopping, event loop answers, no required check unhealthy or unknown"),
    ("/health/startup", _startup, "the host has finished starting"),
)

ENDPOINTS = (
    *(
        Endpoint(
            path, ("GET",), "public", changes=False, handler=handler, description=description, answers=_PROBE_ANSWERS
        )
        for path, handler, description in _PROBES
    ),
    Endpoint(
        "/health",
        ("GET",),
        "scrape",
        changes=False,
        handler=_health,
        description="",
        answers={
            200: describe_json("No required check is unhealthy.", "status"),
            503: describe_json("A required check is unhealthy.", "status"),
        },
    ),
    Endpoint(
        "/health/checks",
        ("GET",),
        "operator",
        changes=False,
        handler=_checks,
        description="what the checks said, with their history; ?refresh=true runs them first",
        answers={200: describe_json("The checks."), 422: describe_error(422)},
    ),
)
