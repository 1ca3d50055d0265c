"""Our endpoints, by tier: public, scrape, operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ordinaut_ext_observability.health.lifecycle import Lifecycle, ProbeResult
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.negotiation import accepts_gzip, choose_format
from ordinaut_ext_observability.web.access import AccessControl
from ordinaut_ext_observability.web.answers import Refusal, error_response, internal_error_response, route_class
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
    overview: Callable[[], dict[str, Any]]
    """What the index says besides the endpoints."""
    on_error: Callable[[], None]


def build_router(surface: Surface, *, operator: bool) -> APIRouter:
    """All endpoints; without `operator` only the public and the scrape tier, for the management port."""
    router = APIRouter(route_class=route_class(surface.on_error), tags=["observability"])
    _add_probes(router, surface)
    _add_scrape_tier(router, surface)
    if operator:
        _add_operator_tier(router, surface)
    return router


def describe_endpoints(access: AccessControl) -> list[EndpointDescription]:
    """What there is, what it takes to see it, and whether it is on."""
    scrape_note = "bearer token needed" if access.scrape_protected else "open to the addresses allowed to scrape"
    return [
        *(
            EndpointDescription(f"/health/{probe}", "GET, HEAD", "public", enabled=True, note=note)
            for probe, note in (
                ("live", "the event loop answers"),
                ("ready", "started, not stopping, event loop answers, no required check unhealthy or unknown"),
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


def metrics_endpoint(surface: Surface) -> Callable[[Request], Any]:
    """The handler of `/metrics`, without its access check."""

    async def metrics(request: Request) -> Response:
        names = request.query_params.getlist("name[]")
        if len(names) > MAX_FILTER_NAMES:
            return error_response(400, "too_many_names", f"At most {MAX_FILTER_NAMES} name[] are accepted.")
        gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
        scrape_format = choose_format(request.headers.get("accept", ""))
        try:
            body = await surface.scrapes.scrape(ScrapeRequest(scrape_format, gzip, frozenset(names) if names else None))
        except TooManyScrapesError:
            return error_response(503, "too_many_scrapes", "Too many scrapes are being rendered.", {"Retry-After": "1"})
        headers = {"Vary": "Accept, Accept-Encoding", **_NO_STORE}
        if gzip:
            headers["Content-Encoding"] = "gzip"
        response = Response(body, headers=headers)
        response.headers["Content-Type"] = scrape_format.value
        return response

    return metrics


def protected_metrics_endpoint(surface: Surface) -> Callable[[Request], Any]:
    """The handler of `/metrics` with its access check inside, for a plain route on the host's application."""
    metrics = metrics_endpoint(surface)

    async def root_metrics(request: Request) -> Response:
        try:
            await surface.access.scraper(request)
            response: Response = await metrics(request)
        except Refusal as refusal:
            return refusal.response
        except Exception:  # noqa: BLE001 - kept from the host's handlers
            return internal_error_response(surface.on_error)
        return response

    return root_metrics


def _add_readable(router: APIRouter, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
    """A route for GET and HEAD; apart, since FastAPI gives the methods of one route the same operation id."""
    router.add_api_route(path, endpoint, methods=["GET"], **options)
    router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, **options)


def _add_probes(router: APIRouter, surface: Surface) -> None:
    lifecycle = surface.lifecycle

    def add(name: str, ask: Callable[[], ProbeResult]) -> None:
        async def probe() -> Response:
            if name == "ready":
                await surface.monitor.settle(SETTLE_SECONDS)
            result = ask()
            return JSONResponse({"status": result.status}, result.http_status, _NO_STORE)

        _add_readable(router, f"/health/{name}", probe, name=f"health_{name}")

    add("live", lifecycle.live)
    add("ready", lifecycle.ready)
    add("startup", lifecycle.startup)


def _add_scrape_tier(router: APIRouter, surface: Surface) -> None:
    scraper = [Depends(surface.access.scraper)]

    async def health() -> Response:
        await surface.monitor.settle(SETTLE_SECONDS)
        answer = names_and_states(surface.monitor.report(), surface.lifecycle)
        return JSONResponse(answer, 503 if answer["status"] == "unhealthy" else 200, _NO_STORE)

    _add_readable(router, "/metrics", metrics_endpoint(surface), dependencies=scraper, name="metrics")
    _add_readable(router, "/health", health, dependencies=scraper, name="health")


def _add_operator_tier(router: APIRouter, surface: Surface) -> None:
    operator = [Depends(surface.access.operator)]

    async def index() -> Response:
        endpoints = [asdict(endpoint) for endpoint in describe_endpoints(surface.access)]
        return JSONResponse({**surface.overview(), "endpoints": endpoints}, headers=_NO_STORE)

    async def config() -> Response:
        return JSONResponse(surface.config(), headers=_NO_STORE)

    async def health_checks(*, refresh: bool = False) -> Response:
        await surface.monitor.settle(SETTLE_SECONDS)
        if refresh:
            await surface.monitor.run_all_checks()
        return JSONResponse(everything(surface.monitor, surface.lifecycle), headers=_NO_STORE)

    router.add_api_route("/", index, methods=["GET"], dependencies=operator, name="index")
    router.add_api_route("/health/checks", health_checks, methods=["GET"], dependencies=operator, name="health_checks")
    router.add_api_route("/config", config, methods=["GET"], dependencies=operator, name="config")
