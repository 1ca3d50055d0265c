"""Deployments, posted and listed as annotations; the host's routes, and which of them nobody calls."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, value_of
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.budget import OVERFLOW_VALUE
from ordinaut_ext_observability.metrics.declarations.http import HttpMetrics
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.promql.times import MAX_MS
from ordinaut_ext_observability.releases.deployments import Deployment
from ordinaut_ext_observability.settings.parts import PREFIX
from ordinaut_ext_observability.web.answers import error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.endpoints.loggers import read_seconds
from ordinaut_ext_observability.web.queries import UnavailableError
from ordinaut_ext_observability.web.route_templates import list_routes

_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+:/@-]{0,99}$")]
_Seconds = Annotated[float, BeforeValidator(read_seconds), Field(ge=0, le=7 * 86_400)]
_REQUESTS = (LabelMatcher(NAME, "=", HttpMetrics.http_requests.name),)

_Calls = dict[str, dict[str, tuple[int, int]]]
"""By route and method: the requests, and when the last was seen, in milliseconds since 1970; 0: that is not known."""


class DeploymentBody(BaseModel, extra="forbid", allow_inf_nan=False):
    version: _Word
    commit: _Word | None = None
    success: bool = True
    duration: _Seconds | None = None
    test_coverage: Annotated[float, Field(ge=0, le=100)] | None = None
    environment: _Word | None = None


async def _add(request: Request, body: DeploymentBody) -> Response:
    deployments = context_of(request).deployments
    deployment = Deployment(
        body.version,
        body.environment or deployments.environment,
        wall_seconds(),
        success=body.success,
        commit=body.commit or "",
        duration_seconds=body.duration,
        test_coverage=body.test_coverage,
    )
    try:
        await in_daemon_thread(deployments.add, deployment)
    except ClusterUnavailableError as error:
        return error_response(503, "store_unavailable", f"The store does not answer: {error}. Post it again.")
    return json_response(_annotation(deployment))


async def _list(request: Request) -> Response:
    known = context_of(request).deployments.known
    return json_response({"deployments": [_annotation(each) for each in reversed(known)]})


def _annotation(each: Deployment) -> dict[str, Any]:
    """A deployment as Grafana takes annotations: milliseconds since 1970, a text, tags; and its facts."""
    facts = [f"commit {each.commit}"] if each.commit else []
    facts += [f"took {each.duration_seconds:g} s"] if each.duration_seconds is not None else []
    facts += [f"test coverage {each.test_coverage:g} %"] if each.test_coverage is not None else []
    text = ", ".join((f"{each.version} in {each.environment}: {each.outcome}", *facts))
    annotation = {"time": round(each.time * 1000), "text": text, "tags": ["deployment", each.environment, each.outcome]}
    return {**annotation, **{name: getattr(each, name) for name in Deployment.__slots__ if name != "time"}}


async def _routes(request: Request) -> Response:
    context = context_of(request)
    try:
        history = context.queries.source()
    except UnavailableError as error:
        return error_response(503, "unavailable", f"Counts are read from history. But {error}.")
    calls: _Calls = {}
    async for _ in Slicer().slices(_read_calls(history, calls)):
        pass
    settings, counted_ms, since_ms = context.config()["settings"], history.table.last_ms, history.kept_since_ms
    # Requests that are counted under no route's name may be those of any.
    is_known = settings[f"{PREFIX}HTTP_METRICS"] and since_ms is not None and OVERFLOW_VALUE not in calls
    shown = []
    for method, route in dict.fromkeys(list_routes(request.app)):
        found = [each for name, each in calls.get(route, {}).items() if method in (name, "*")]
        is_measured = is_known and not any(fnmatchcase(route, each) for each in settings[f"{PREFIX}EXCLUDE_ENDPOINTS"])
        requests = sum(number for number, _ in found) if found or is_measured else None
        last = _time(max((at for _, at in found), default=0))
        shown.append({"method": method, "route": route, "requests": requests, "last_called": last})
    never = [f"{each['method']} {each['route']}" for each in shown if each["requests"] == 0]
    times = {"counted_at": _time(counted_ms if since_ms else None), "last_calls_known_since": _time(since_ms)}
    return json_response({**times, "never_called": never, "routes": shown})


def _read_calls(history: History, calls: _Calls) -> Iterator[None]:
    """Add up the series of each route and method, a series at a step."""
    since_ms = history.kept_since_ms or 0
    for series in history.select(_REQUESTS, 0, MAX_MS):
        if series is not None:
            number, last = 0.0, 0
            for at, value in zip(series.timestamps, series.values, strict=True):
                if value == value and value != number:  # noqa: PLR0124 - not a sample that only says it has ended
                    last = at if number or at > since_ms else 0  # what the first tick has may be of any time before
                    number = value
            methods = calls.setdefault(value_of(series.labels, "endpoint"), {})
            method = value_of(series.labels, "method")
            before = methods.get(method, (0, 0))
            methods[method] = round(before[0] + number), max(before[1], last)
        yield


def _time(time_ms: int | None) -> str | None:
    return timestamp(time_ms / 1000) if time_ms else None


_ADD = 'report a deployment: {"version": "1.4.2", "commit": "4f1c9a2", "duration": "90s", "test_coverage": 87.5}'
_ROUTES = "the host's routes: requests as `/metrics` counts them, the last call, those never called"
_ADDED = {200: "The deployment.", 422: None, 503: None}

ENDPOINTS = (
    Endpoint("/events/deployment", "operator", _list, "deployments, as annotations", {200: "The newest first."}),
    Endpoint("/events/deployment", "operator", _add, _ADD, _ADDED, methods=("POST",)),
    Endpoint("/routes", "operator", _routes, _ROUTES, {200: "The routes.", 503: None}),
)
