"""Our endpoints, by tier: public, scrape, operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from ordinaut_ext_observability.health.lifecycle import Lifecycle, ProbeResult
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.negotiation import accepts_gzip, choose_format
from ordinaut_ext_observability.web.access import AccessControl
from ordinaut_ext_observability.web.answers import STATE, error_response, route_class
from ordinaut_ext_observability.web.health_report import everything, names_and_states
from ordinaut_ext_observability.web.scrape import ScrapeRequest, ScrapeService, TooManyScrapesError

MAX_FILTER_NAMES = 100

SETTLE_SECONDS = 0.5
"""How long the first probes after a start wait for the first results of the checks."""

_NO_STORE = {"Cache-Control": "no-store"}


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
    for name, probe in (("live", _live), ("ready", _ready), ("startup", _startup)):
        _add_readable(router, f"/health/{name}", probe, name=f"health_{name}")
    _add_readable(router, "/metrics", _metrics, dependencies=[Depends(check_scraper)], name="metrics")
    _add_readable(router, "/health", _health, dependencies=[Depends(check_scraper)], name="health")
    if operator:
        for path, endpoint, name in (
            ("/", _index, "index"),
            ("/health/checks", _health_checks, "health_checks"),
            ("/config", _config, "config"),
        ):
            router.add_api_route(path, endpoint, methods=["GET"], dependencies=[Depends(check_operator)], name=name)
    return router


def root_metrics_route(surface: Surface, path: str) -> APIRoute:
    """A route to `/metrics` for the host's root, with its access check."""
    make = route_class(surface.on_error, surface)
    dependencies = [Depends(check_scraper)]
    return make(path, _metrics, methods=["GET", "HEAD"], dependencies=dependencies, include_in_schema=False)


def describe_endpoints(access: AccessControl) -> list[EndpointDescription]:
    """What there is, what it takes to see it, and whether it is on."""
    scrape_note = "bearer token needed" if access.scrape_protected else "open to the addresses allowed to scrape"
    return [
        *(
            EndpointDescription(f"/health/{probe}", "GET, HEAD", "public", enabled=True, note=note)
            for probe, note in (
                ("live", "the event loop answers"),
                ("ready", "started, not stopping, event loop answers, no required check unhealthy"),
                ("startup", "the host has finished starting"),
            )
        ),
        EndpointDescription("/metrics", "GET, HEAD", "scrape", enabled=True, note=scrape_note),
        EndpointDescription("/health", "GET, HEAD", "scrape", enabled=True, note=scrape_note),
        EndpointDescription("/", "GET", "operator", enabled=access.operator_enabled, note="this page"),
        EndpointDescription(
            "/health/checks",
            "GET",
            "operator",
            enabled=access.operator_enabled,
            note="what the checks said, with their history; ?refresh=true runs them first",
        ),
        EndpointDescription(
            "/config", "GET", "operator", enabled=access.operator_enabled, note="settings in effect, secrets masked"
        ),
    ]


def _add_readable(router: APIRouter, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
    """A route for GET and HEAD; apart, since FastAPI gives the methods of one route the same operation id."""
    router.add_api_route(path, endpoint, methods=["GET"], **options)
    router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, **options)


def _surface(request: Request) -> Surface:
    surface: Surface = request.scope[STATE]
    return surface


async def check_scraper(request: Request) -> None:
    """Let a scraper pass; the dependency of the scrape tier."""
    await _surface(request).access.scraper(request)


async def check_operator(request: Request) -> None:
    """Let an operator pass; the dependency of the operator tier."""
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
    response.headers["Content-Type"] = scrape_format.value
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
