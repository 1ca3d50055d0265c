"""All endpoints of all parts, those about the extension itself, and what is made of them: the routes and the index."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.web.answers import json_response
from ordinaut_ext_observability.web.endpoints import (
    alertmanager,
    alerts,
    debugging,
    health,
    incidents,
    loggers,
    metrics,
    page,
    profiling,
    prometheus,
    prometheus_rules,
    releases,
    runbooks,
    session,
    trouble,
)
from ordinaut_ext_observability.web.endpoints.base import (
    Endpoint,
    EndpointContext,
    add_endpoint,
    context_of,
    route_class,
    route_options,
)


async def _index(request: Request, route: page.Route = "", range: page.Range = "1h") -> Response:  # noqa: A002 - as in the URL
    if "text/html" in request.headers.get("accept", ""):
        return await page.answer_page(request, route, range, whole=True)
    context = context_of(request)
    settings = context.access.settings
    scrapers = "bearer token needed" if settings.scrape_token else "open to the addresses allowed to scrape"
    endpoints = [
        {
            "path": endpoint.path,
            "methods": ", ".join(endpoint.methods).replace("GET", "GET, HEAD"),
            "tier": endpoint.tier,
            "enabled": endpoint.tier != "operator" or context.access.is_open_to_operators,
            "note": "; ".join(filter(None, (endpoint.description, scrapers if endpoint.tier == "scrape" else ""))),
        }
        for endpoint in ENDPOINTS
    ]
    return json_response({**context.overview(request.scope), "endpoints": endpoints})


async def _config(request: Request) -> Response:
    return json_response(context_of(request).config())


_STATE = "The status page for a browser; else the extension's state, and its endpoints."
_SAID = {200: _STATE, 422: None}
_INDEX_TYPES = ("application/json", "text/html")

ENDPOINTS = (
    *health.ENDPOINTS,
    metrics.METRICS,
    Endpoint("/", "operator", _index, "the status page for a browser; else state and endpoints", _SAID, _INDEX_TYPES),
    page.PAGE,
    Endpoint("/config", "operator", _config, "settings in effect, secrets masked", {200: "The settings."}),
    *session.ENDPOINTS,
    *loggers.ENDPOINTS,
    *prometheus.ENDPOINTS,
    *alerts.ENDPOINTS,
    *incidents.ENDPOINTS,
    *runbooks.ENDPOINTS,
    *trouble.ENDPOINTS,
    *debugging.ENDPOINTS,
    *prometheus_rules.ENDPOINTS,
    *alertmanager.ENDPOINTS,
    *profiling.ENDPOINTS,
    *releases.ENDPOINTS,
)


def build_router(context: EndpointContext, *, operator: bool) -> APIRouter:
    """All endpoints; without `operator` only the public and the scrape tier, for the management port."""
    router = APIRouter(tags=["observability"])
    for endpoint in ENDPOINTS:
        if operator or endpoint.tier in ("public", "scrape"):
            add_endpoint(router, context, endpoint)
    return router


def root_metrics_route(context: EndpointContext, path: str) -> APIRoute:
    """A route to `/metrics` for the host's root."""
    make_route, options = route_class(context, metrics.METRICS), route_options(metrics.METRICS)
    return make_route(path, metrics.METRICS.handler, methods=["GET", "HEAD"], include_in_schema=False, **options)
