"""The status page: for a browser as a whole, for its script as JSON; for other clients the index."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.promql.times import parse_duration
from ordinaut_ext_observability.web.answers import JSON_HEADERS, PiecewiseResponse, error_response, html_page
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

_LONGEST_MS = 86_400_000
"""The longest range: history is kept for a day at most."""
Route = Annotated[str, Query(max_length=300, description="Plots of this route of the host; empty: of all.")]
Range = Annotated[str, Query(max_length=20, description="Time that plots show, such as 15m or 6h.")]


async def answer_page(request: Request, route: str, range_text: str, *, whole: bool) -> Response:
    """The page as a `whole` document, or its sections as JSON."""
    try:
        range_ms = parse_duration(range_text)
    except ValueError:
        range_ms = 0
    if not 60_000 <= range_ms <= _LONGEST_MS:
        return error_response(422, "invalid_request", "range: give a duration from 1m to 24h, such as 1h.")
    context = context_of(request)
    page, may_change = await in_daemon_thread(context.page), context.access.may_change(request)
    title, body, content, etag = await page.document(context, request.scope, route, range_text, may_change)
    if whole:
        return html_page(200, title, body, style=page.style, script=page.script)
    headers = {**JSON_HEADERS, "ETag": etag}
    if request.headers.get("if-none-match", "").removeprefix("W/") == etag:  # a proxy that compresses makes it weak
        return Response(status_code=304, headers=headers)
    return PiecewiseResponse([content], headers)  # scrubbed as it was rendered


async def _page(request: Request, route: Route = "", range: Range = "1h") -> Response:  # noqa: A002 - its name in the URL
    return await answer_page(request, route, range, whole=False)


_PAGE = {200: "Title and sections, each HTML.", 304: "Nothing has changed since the one with this ETag.", 422: None}
PAGE = Endpoint("/page", "operator", _page, "the status page in parts, for its script; ?route=&range=1h", _PAGE)
