"""Our endpoints: one list, from which the routes, their guards, the index and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from ordinaut_ext_observability.health.lifecycle import Lifecycle, ProbeResult
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.negotiation import accepts_gzip, choose_format
from ordinaut_ext_observability.web.access import AccessControl
from ordinaut_ext_observability.web.answers import (
    STATE,
    Answers,
    error_answers,
    error_response,
    json_answer,
    route_class,
)
from ordinaut_ext_observability.web.health_report import everything, names_and_states
from ordinaut_ext_observability.web.scrape import ScrapeRequest, ScrapeService, TooManyScrapesError

MAX_FILTER_NAMES = 100

SETTLE_SECONDS = 0.5
"""How long the first probes after a start wait for the first results of the checks."""

_NO_STORE = {"Cache-Control": "no-store"}

Tier = Literal["public", "scrape", "operator"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint below the mount path.

    Endpoint("/config", "operator", _config, "settings in effect", _OPERATOR_ANSWERS)
    """

    path: str
    tier: Tier
    handler: Callable[..., Any]
    """Finds what it answers from in the request's scope: see `answers.STATE`."""
    description: str
    answers: Answers
    """By status, for the OpenAPI document."""
    methods: tuple[str, ...] = ("GET",)
    """HEAD is answered wherever GET is."""
    response_class: type[Response] = JSONResponse


@dataclass(frozen=True, slots=True)
class EndpointDescription:
    """One endpoint, as the index shows it."""

    path: str
    methods: str
    tier: str
    enabled: bool
    note: str


@dataclass(frozen=True, slots=True)
class Surface:
    """What the endpoints answer from."""

    lifecycle: Lifecycle
    scrapes: ScrapeService
    access: AccessControl
    monitor: HealthMonitor
    config: Callable[[], dict[str, Any]]
    overview: Callable[[Scope], dict[str, Any]]
    """Gives what the index says besides the endpoints, to the request of this scope."""
    on_error: Callable[[], None]


def build_router(surface: Surface, *, operator: bool) -> APIRouter:
    """All endpoints; without `operator` only the public and the scrape tier, for the management port."""
    router = APIRouter(route_class=route_class(surface.on_error, surface), tags=["observability"])
    for endpoint in ENDPOINTS:
        if operator or endpoint.tier != "operator":
            _add_route(router, endpoint)
    return router


def root_metrics_route(surface: Surface, path: str) -> APIRoute:
    """A route to `/metrics` for the host's root, with its access check."""
    make = route_class(surface.on_error, surface)
    return make(path, _metrics, methods=["GET", "HEAD"], dependencies=_GUARDS["scrape"], include_in_schema=False)


def describe_endpoints(access: AccessControl) -> list[EndpointDescription]:
    """Every endpoint, its tier, and whether it is on."""
    enabled = {"public": True, "scrape": True, "operator": access.operator_enabled}
    who = {"scrape": "bearer token needed" if access.scrape_protected else "open to the addresses allowed to scrape"}
    return [
        EndpointDescription(
            endpoint.path,
            ", ".join(_with_head(endpoint.methods)),
            endpoint.tier,
            enabled=enabled[endpoint.tier],
            note="; ".join(filter(None, (endpoint.description, who.get(endpoint.tier)))),
        )
        for endpoint in ENDPOINTS
    ]


def _add_route(router: APIRouter, endpoint: Endpoint) -> None:
    """Add the route; HEAD apart, since FastAPI gives the methods of one route the same operation id."""
    name = endpoint.path.strip("/").replace("/", "_") or "index"
    options: dict[str, Any] = {
        "name": name,
        "dependencies": _GUARDS[endpoint.tier],
        "responses": endpoint.answers,
        "response_class": endpoint.response_class,
    }
    router.add_api_route(
        endpoint.path, endpoint.handler, methods=list(endpoint.methods), summary=endpoint.description, **options
    )
    if "GET" in endpoint.methods:
        router.add_api_route(endpoint.path, endpoint.handler, methods=["HEAD"], include_in_schema=False, **options)


def _with_head(methods: tuple[str, ...]) -> Sequence[str]:
    return [name for method in methods for name in ((method, "HEAD") if method == "GET" else (method,))]


def _surface(request: Request) -> Surface:
    surface: Surface = request.scope[STATE]
    return surface


async def check_scraper(request: Request) -> None:
    """Let a scraper pass: the guard of the scrape tier."""
    await _surface(request).access.scraper(request)


async def check_operator(request: Request) -> None:
    """Let an operator pass: the guard of the operator tier."""
    await _surface(request).access.operator(request)


async def _live(request: Request) -> Response:
    return _probe_response(_surface(request).lifecycle.live())


async def _ready(request: Request) -> Response:
    surface = _surface(request)
    await surface.monitor.settle(SETTLE_SECONDS)
    return _probe_response(surface.lifecycle.ready())


async def _startup(request: Request) -> Response:
    return _probe_response(_surface(request).lifecycle.startup())


def _probe_response(result: ProbeResult) -> Response:
    return JSONResponse({"status": result.status}, result.http_status, _NO_STORE)


async def _metrics(request: Request) -> Response:
    names = request.query_params.getlist("name[]")
    if len(names) > MAX_FILTER_NAMES:
        return error_response(400, "too_many_names", f"At most {MAX_FILTER_NAMES} name[] are accepted.")
    gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
    scrape_format = choose_format(request.headers.get("accept", ""))
    scrape = ScrapeRequest(scrape_format, gzip, frozenset(names) if names else None)
    try:
        body = await _surface(request).scrapes.scrape(scrape)
    except TooManyScrapesError:
        return error_response(503, "too_many_scrapes", "Too many scrapes are being rendered.", {"Retry-After": "1"})
    headers = {"Vary": "Accept, Accept-Encoding", **_NO_STORE}
    if gzip:
        headers["Content-Encoding"] = "gzip"
    response = Response(body, headers=headers)
    response.headers["Content-Type"] = scrape_format.content_type
    return response


async def _health(request: Request) -> Response:
    surface = _surface(request)
    await surface.monitor.settle(SETTLE_SECONDS)
    answer = names_and_states(surface.monitor.report(), surface.lifecycle)
    return JSONResponse(answer, 503 if answer["status"] == "unhealthy" else 200, _NO_STORE)


async def _index(request: Request) -> Response:
    surface = _surface(request)
    endpoints = [asdict(endpoint) for endpoint in describe_endpoints(surface.access)]
    return JSONResponse({**surface.overview(request.scope), "endpoints": endpoints}, headers=_NO_STORE)


async def _config(request: Request) -> Response:
    return JSONResponse(_surface(request).config(), headers=_NO_STORE)


async def _health_checks(request: Request, *, refresh: bool = False) -> Response:
    surface = _surface(request)
    await surface.monitor.settle(SETTLE_SECONDS)
    if refresh:
        await surface.monitor.run_all_checks()
    return JSONResponse(everything(surface.monitor, surface.lifecycle), headers=_NO_STORE)


_GUARDS: dict[Tier, list[Any]] = {
    "public": [],
    "scrape": [Depends(check_scraper)],
    "operator": [Depends(check_operator)],
}

_OBJECT = {"type": "object"}
_STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}

_PROBE_ANSWERS = {
    **error_answers(),
    200: json_answer("Yes.", _STATUS),
    503: json_answer("No.", _STATUS),
}
_METRICS_ANSWERS = {
    **error_answers(400, 401, 403, 429, 503),
    200: {
        "description": "The metrics, in the format that the Accept header prefers.",
        "content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")},
    },
}
_HEALTH_ANSWERS = {
    **error_answers(401, 403, 429),
    200: json_answer("No required check is unhealthy.", _STATUS),
    503: json_answer("A required check is unhealthy.", _STATUS),
}
_OPERATOR_ANSWERS = {**error_answers(401, 404, 429), 200: json_answer("What is asked for.", _OBJECT)}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("/health/live", "public", _live, "the event loop answers", _PROBE_ANSWERS),
    Endpoint(
        "/health/ready",
        "public",
        _ready,
        "started, not stopping, event loop answers, no required check unhealthy or unknown",
        _PROBE_ANSWERS,
    ),
    Endpoint("/health/startup", "public", _startup, "the host has finished starting", _PROBE_ANSWERS),
    Endpoint("/metrics", "scrape", _metrics, "", _METRICS_ANSWERS, response_class=PlainTextResponse),
    Endpoint("/health", "scrape", _health, "", _HEALTH_ANSWERS),
    Endpoint("/", "operator", _index, "this page", _OPERATOR_ANSWERS),
    Endpoint(
        "/health/checks",
        "operator",
        _health_checks,
        "what the checks said, with their history; ?refresh=true runs them first",
        {**_OPERATOR_ANSWERS, **error_answers(422)},
    ),
    Endpoint("/config", "operator", _config, "settings in effect, secrets masked", _OPERATOR_ANSWERS),
)
