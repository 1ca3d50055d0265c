"""Recent errors in groups, and recent requests that failed or were slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.trouble.recent import is_open
from ordinaut_ext_observability.web.answers import error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

_Shown = dict[str, Any]
_Limit = Annotated[int, Query(ge=1, description="The newest, so many.")]
_Window = Annotated[float, Query(gt=0, le=1e9, description="Those of the last so many seconds.")]


async def _errors(request: Request, limit: _Limit = 100, window: _Window = 1e9) -> Response:
    groups, age = context_of(request).trouble.errors.known()
    shown = _newest((_group(*item) for item in groups.items()), "last_seen", limit, window)
    scope = "process" if age is None else "installation"
    return json_response({"scope": scope, "age_seconds": age, "errors": shown})


async def _error(request: Request, fingerprint: str) -> Response:
    errors = context_of(request).trouble.errors
    if request.method == "POST":
        errors.resolve(fingerprint)
    groups, _ = errors.known()
    if fingerprint not in groups:
        return error_response(404, "not_found", "There is no such group of errors, or no more: see /errors.")
    return json_response(_group(fingerprint, groups[fingerprint]))


async def _slow_requests(request: Request, limit: _Limit = 100, window: _Window = 1e9) -> Response:
    trouble = context_of(request).trouble
    shown = _newest(trouble.requests(), "time", limit, window)
    return json_response({"scope": "process", "slow_request_seconds": trouble.slow_seconds, "requests": shown})


def _group(fingerprint: str, group: _Shown) -> _Shown:
    return {"fingerprint": fingerprint, "status": "open" if is_open(group) else "resolved", **group}


def _newest(found: Iterable[_Shown], instant: str, limit: int, window: float) -> list[_Shown]:
    since = timestamp(wall_seconds() - window)
    return sorted((each for each in found if each[instant] >= since), key=lambda each: each[instant])[: -limit - 1 : -1]


_ALL = {200: "The newest first, and of which processes (`scope`).", 422: None}
_GROUP = {200: "The group.", 422: None}

ENDPOINTS = (
    Endpoint("/errors", "operator", _errors, "recent errors, in groups", _ALL),
    Endpoint("/errors/{fingerprint}", "operator", _error, "one group of errors", _GROUP),
    Endpoint("/errors/{fingerprint}/resolve", "operator", _error, "mark it as resolved", _GROUP, methods=("POST",)),
    Endpoint("/requests/slow", "operator", _slow_requests, "requests here that failed or were slow", _ALL),
)
