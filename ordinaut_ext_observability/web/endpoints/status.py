"""The extension itself: its settings."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.web.answers import describe_json, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of


async def _config(request: Request) -> Response:
    return json_response(context_of(request).config())


ENDPOINTS = (
    Endpoint(
        "/config",
        ("GET",),
        "operator",
        changes=False,
        handler=_config,
        description="settings in effect, secrets masked",
        answers={200: describe_json("The settings.")},
    ),
)
