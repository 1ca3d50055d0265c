"""Deployments, posted and listed as annotations; the host's routes, and those that nobody calls."""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import inf, isnan
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.budget import OVERFLOW_VALUE
from ordinaut_ext_observability.metrics.declarations.http import HttpMetrics
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.releases.deployments import OUTCOMES, Deployment, Seconds
from ordinaut_ext_observability.web.answers import error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.endpoints.loggers import read_seconds
from ordinaut_ext_observability.web.queries import UnavailableError
from ordinaut_ext_observability.web.route_templates import list_routes

_REQUESTS = (LabelMatcher(NAME, "=", HttpMetrics.http_requests.name),)


class DeploymentBody(Deployment, frozen=True, extra="forbid", defer_build=False):
    duration_seconds: Annotated[Seconds, BeforeValidator(read_seconds)] = Field(default=None, alias="duration")


async def _add(request: Request, body: DeploymentBody) -> Response:
    return json_response(_annotation(context_of(request).deployments.add(body)), 202)


async def _list(request: Request) -> Response:
    return json_response({"deployments": [_annotation(each) for each in context_of(request).deployments.known[::-1]]})


def _annotation(each: Deployment) -> dict[str, Any]:
    """The deployment as Grafana takes annotations, time in milliseconds since 1970, and its facts."""
    tags = ["deployment", each.environment, OUTCOMES[each.success]]
    text = f"{each.version} {each.commit}".strip() + f" in {each.environment}: {OUTCOMES[each.success]}"
    return {**each.model_dump(), "time": round(each.time * 1000), "text": text, "tags": tags}


async def _routes(request: Request) -> Response:
    try:
        history, settings = context_of(request).queries.source(), context_of(request).config()["settings"]
    except UnavailableError as error:
        return error_response(503, "unavailable", f"Requests are read from history. But {error}.")
    calls = await in_daemon_thread(_read_calls, history)
    # Requests that are counted under no route's name may be those of any.
    none = 0 if settings["ORDINAUT_OBS_HTTP_METRICS"] and calls and ("*", OVERFLOW_VALUE) not in calls else None
    routes = []
    for method, route in dict.fromkeys(list_routes(request.app)):
        excluded = any(fnmatchcase(route, pattern) for pattern in settings["ORDINAUT_OBS_EXCLUDE_ENDPOINTS"])
        number, last_ms = calls.get((method, route), (None if excluded else none, 0))
        last = timestamp(last_ms / 1000) if last_ms else None
        routes.append({"method": method, "route": route, "requests": number, "last_called": last})
    never = [f"{each['method']} {each['route']}" for each in routes if each["requests"] == 0]
    return json_response({"never_called": never, "routes": routes})


def _read_calls(history: History) -> dict[tuple[str, str], tuple[int, int]]:
    """Requests by method (`*`: any) and route, and the time in ms of the sample that showed the last; 0: unknown."""
    calls, since_ms = {("", ""): (0, 0)} if history.kept_since_ms else {}, history.kept_since_ms or 0
    for series in history.select(_REQUESTS, 0, history.table.last_ms):
        if series is not None:
            labels, times, values = dict(series.labels), series.timestamps, series.values
            first = 0 if times[0] > since_ms else inf  # the first sample of all has the calls of any time before
            last_ms = max((at for at, now, before in zip(times, values, (first, *values)) if now > before), default=0)  # noqa: B905
            number = round(next((value for value in reversed(values) if not isnan(value)), 0))
            for key in (("*", labels["endpoint"]), (labels["method"], labels["endpoint"])):
                calls[key] = calls.get(key, (0, 0))[0] + number, max(calls.get(key, (0, 0))[1], last_ms)
    return calls


_ADD = 'report a deployment: {"version": "1.4.2", "commit": "4f1c9a2", "duration": "90s", "test_coverage": 87.5}'
_ROUTES = "the host's routes: requests as `/metrics` counts them, the last call, those never called"
ENDPOINTS = (
    Endpoint("/events/deployment", "operator", _list, "deployments, as annotations", {200: "The newest first."}),
    Endpoint("/events/deployment", "operator", _add, _ADD, {202: "It.", 422: None}, methods=("POST",)),
    Endpoint("/routes", "operator", _routes, _ROUTES, {200: "The routes.", 503: None}),
)
