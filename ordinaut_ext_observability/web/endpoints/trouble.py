"""Recent errors in groups, and requests that failed or were slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.trouble.errors import is_open
from ordinaut_ext_observability.web.answers import error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

_Limit = Annotated[int, Query(ge=1, description="So many, the newest.")]
_Window = Annotated[float, Query(gt=0, le=1e9, description="Those of the last so many seconds.")]


async def _errors(request: Request, limit: _Limit = 100, window: _Window = 1e9) -> Response:
    errors = context_of(request).trouble.errors
    groups = _newest(map(_shown, errors.groups().items()), "last_seen", limit, window)
    age = errors.age_seconds()
    scope = {"scope": "process" if age is None else "installation", "age_seconds": age}
    return json_response({**scope, "errors": groups})


async def _error(request: Request, fingerprint: str) -> Response:
    group = context_of(request).trouble.errors.groups().get(fingerprint)
    if group is None:
        return error_response(404, "not_found", "There is no such group of errors, or no more: see /errors.")
    return json_response(_shown((fingerprint, group)))


async def _resolve(request: Request, fingerprint: str) -> Response:
    context_of(request).trouble.errors.resolve(fingerprint)
    return await _error(request, fingerprint)


async def _slow_requests(request: Request, limit: _Limit = 100, window: _Window = 1e9) -> Response:
    requests = context_of(request).trouble.requests
    shown = _newest(requests.all(), "time", limit, window)
    return json_response({"scope": "process", "slow_request_seconds": requests.slow_seconds, "requests": shown})


def _shown(item: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"fingerprint": item[0], "status": "open" if is_open(item[1]) else "resolved", **item[1]}


def _newest(found: Iterable[dict[str, Any]], instant: str, limit: int, window: float) -> list[dict[str, Any]]:
    since = timestamp(wall_seconds() - window)
    return sorted((each for each in found if each[instant] >= since), key=lambda each: each[instant])[: -limit - 1 : -1]


_ALL = {200: "The newest first; `scope` tells of which processes.", 422: None}
_GROUP = {200: "The group."}

ENDPOINTS = (
    Endpoint("/errors", "operator", _errors, "recent errors, in groups", _ALL),
    Endpoint("/errors/{fingerprint}", "operator", _error, "one group of errors", _GROUP),
    Endpoint(
        "/errors/{fingerprint}/resolve", "operator", _resolve, "mark a group as resolved", _GROUP, methods=("POST",)
    ),
    Endpoint("/requests/slow", "operator", _slow_requests, "recent requests that failed or were slow", _ALL),
)
