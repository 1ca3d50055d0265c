"""The extension itself: its settings."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.web.answers import json_response
from ordinaut_ext_observability.web.endpoints.base import GET, READS, Endpoint, context_of


async def _config(request: Request) -> Response:
    return json_response(context_of(request).config())


_DESCRIPTION = "settings in effect, secrets masked"

ENDPOINTS = (Endpoint("/config", GET, "operator", READS, _config, _DESCRIPTION, {200: "The settings."}),)
