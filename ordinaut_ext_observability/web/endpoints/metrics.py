"""`/metrics`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.metrics.negotiation import accepts_gzip, choose_format
from ordinaut_ext_observability.web.answers import NO_STORE, error_response
from ordinaut_ext_observability.web.endpoints.base import GET, READS, Endpoint, context_of
from ordinaut_ext_observability.web.scrape import PiecewiseResponse, ScrapeRequest, TooManyScrapesError

MAX_FILTER_NAMES = 100


async def _metrics(request: Request) -> Response:
    names = request.query_params.getlist("name[]")
    if len(names) > MAX_FILTER_NAMES:
        return error_response(400, "too_many_names", f"At most {MAX_FILTER_NAMES} name[] are accepted.")
    gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
    scrape_format = choose_format(request.headers.get("accept", ""))
    scrape = ScrapeRequest(scrape_format, gzip, frozenset(names) if names else None)
    try:
        body = await context_of(request).scrapes.scrape(scrape)
    except TooManyScrapesError:
        return error_response(503, "too_many_scrapes", "Too many scrapes are being rendered.", {"Retry-After": "1"})
    headers = {"Vary": "Accept, Accept-Encoding", **NO_STORE, "Content-Type": scrape_format.content_type}
    if gzip:
        headers["Content-Encoding"] = "gzip"
    return PiecewiseResponse(body, headers)


_ANSWERS = {200: "The metrics, in the format that the Accept header prefers.", 400: None, 503: None}
_TYPES = ("text/plain", "application/openmetrics-text")

METRICS = Endpoint("/metrics", GET, "scrape", READS, _metrics, "", _ANSWERS, _TYPES)

ENDPOINTS = (METRICS,)
