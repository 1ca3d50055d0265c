"""The full host's middlewares: request ids and lazy loading, and the checks that refuse a request."""

from __future__ import annotations

import re
import secrets

from fastapi import HTTPException
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ordinaut_ext_observability.demo.standin_host.loader import ExtensionLoader

_looks_like_script = re.compile(r"on\w+\s*=", re.IGNORECASE).search

_SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}


async def identify_request(loader: ExtensionLoader, request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Give the request an id of the host's own, and load the extension it is for."""
    request_id = f"req-{secrets.token_hex(4)}"
    request.state.request_id = request_id
    plugin_id = loader.find(request.url.path)
    if plugin_id is not None and plugin_id not in loader.loaded and loader.ensure_loaded(plugin_id):
        return RedirectResponse(str(request.url), status_code=307)
    response = await call_next(request)
    response.headers["X-Request-ID"] = request_id
    return response


async def refuse_suspicious(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Raise for a request that looks like an attack.

    It raises where it should answer: no exception handler is further out, so the client sees a 500.
    """
    headers = request.headers
    if not headers.get("user-agent"):
        raise HTTPException(400, detail="A User-Agent is required")
    if "x-real-ip" in headers and "x-forwarded-for" in headers:
        raise HTTPException(400, detail="X-Real-IP and X-Forwarded-For exclude each other")
    if _looks_like_script(request.url.query) or _looks_like_script(request.url.path):
        raise HTTPException(400, detail="The URL looks like a script")
    response = await call_next(request)
    response.headers.update(_SECURITY_HEADERS)
    return response
