"""Probes, and the report of the health monitor."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.web.answers import json_response
from ordinaut_ext_observability.web.endpoints.base import GET, READS, Endpoint, context_of
from ordinaut_ext_observability.web.health_report import everything, names_and_states, probe_status

SETTLE_SECONDS = 0.5  # longest wait of the first probes after a start for the first results of the checks


async def _live(request: Request) -> Response:
    return _probe_response(context_of(request).lifecycle.why_not_live())


async def _ready(request: Request) -> Response:
    context = context_of(request)
    await context.monitor.settle(SETTLE_SECONDS)
    return _probe_response(context.lifecycle.why_not_ready())


async def _startup(request: Request) -> Response:
    return _probe_response(context_of(request).lifecycle.why_not_started())


def _probe_response(why_not: str) -> Response:
    return json_response({"status": probe_status(why_not)}, 503 if why_not else 200)


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


_PROBE = {200: "Yes.", 503: "No."}
_READY = "started, not stopping, event loop answers, no required check unhealthy or unknown"
_HEALTH = {200: "No required check is unhealthy.", 503: "A required check is unhealthy."}
_CHECKS = "what the checks said, with their history; ?refresh=true runs them first"

ENDPOINTS = (
    Endpoint("/health/live", GET, "public", READS, _live, "the event loop answers", _PROBE),
    Endpoint("/health/ready", GET, "public", READS, _ready, _READY, _PROBE),
    Endpoint("/health/startup", GET, "public", READS, _startup, "the host has finished starting", _PROBE),
    Endpoint("/health", GET, "scrape", READS, _health, "", _HEALTH),
    Endpoint("/health/checks", GET, "operator", READS, _checks, _CHECKS, {200: "The checks.", 422: None}),
)
