"""Answers of our endpoints: JSON that is not stored, errors in one shape, and their descriptions for OpenAPI."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import cache, lru_cache
from hashlib import sha256
from html import escape
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ordinaut_ext_observability.background.slicer import pause
from ordinaut_ext_observability.correlation.context import current_correlation_id

NO_STORE = {"Cache-Control": "no-store"}
JSON_HEADERS = {**NO_STORE, "Content-Type": "application/json"}
_PAGE_HEADERS = {
    **NO_STORE,
    "Referrer-Policy": "same-origin",  # the address may be a key; with no-referrer our own forms had no Origin
    "X-Content-Type-Options": "nosniff",
}
_PAGE_HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'

_ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "A class that a program can act on."},
        "message": {"type": "string", "description": "The problem, and a way out."},
        "request_id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["error", "message", "request_id"],
}
_ERRORS = {
    400: "The request asks for more than is allowed.",
    401: "The token is missing or wrong.",
    403: "The client's address or origin is not allowed.",
    404: "These endpoints are off, since no token is set for them; or there is nothing of this name.",
    409: "Another request of this kind is being answered.",
    422: "A parameter cannot be read.",
    429: "Too many requests were refused; try again in a minute.",
    500: "The extension failed.",
    501: "This installation cannot do it.",
    503: "Too many requests of this kind are being answered.",
}


class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """Raised in a dependency to answer the request with an error."""

    def __init__(self, status_code: int, error: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.response = error_response(status_code, error, message, headers)


class PiecewiseResponse(Response):
    """A body sent in pieces, between which the loop does what else is due: ten megabytes at once would hold it."""

    def __init__(self, pieces: list[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(headers={**headers, "Content-Length": str(sum(map(len, pieces)))})
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as inherited
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = len(self._pieces) - 1
        for number, piece in enumerate(self._pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": number < last})
            if number < last:
                await pause()


def json_response(content: Mapping[str, Any], status_code: int = 200) -> JSONResponse:
    """An answer that caches do not keep: the next one may differ."""
    return JSONResponse(content, status_code, NO_STORE)


def html_page(status_code: int, title: str, body: str, *, style: str = "", script: str = "") -> HTMLResponse:
    """A whole page: `body` is HTML, the title text. No style and no script but these, put into it, apply."""
    policy = _content_security_policy(style, script)
    # In the page as well, since the host may replace the header by a laxer one.
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title>'
    page = _PAGE_HEAD + head + (style and f"<style>{style}</style>") + body + (script and f"<script>{script}</script>")
    headers = {**_PAGE_HEADERS, "Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}
    return HTMLResponse(page, status_code, headers)


@lru_cache(maxsize=16)  # there are fewer pages of ours
def _content_security_policy(style: str, script: str) -> str:
    styles, scripts = (f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in (style, script))
    common = "default-src 'none'; form-action 'self'; base-uri 'none'; connect-src 'self'; img-src data:"
    return f"{common}; style-src {styles}; script-src {scripts}"


def error_response(
    status_code: int, error: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """`error` is a class a program can act on, `message` says what was wrong and what to do."""
    body = {"error": error, "message": message, "request_id": current_correlation_id()}
    return JSONResponse(body, status_code, {**NO_STORE, **(headers or {})})


@cache  # many endpoints have the same answers
def describe_answer(status_code: int, description: str | None, media_types: tuple[str, ...]) -> dict[str, Any]:
    """The description of an answer, for OpenAPI. Without a text it is an error in our shape; errors are JSON."""
    if description is None:
        return {"description": _ERRORS[status_code], "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
    schemas = {kind: {"schema": {"type": "object" if kind == "application/json" else "string"}} for kind in media_types}
    return {"description": description, "content": schemas}
