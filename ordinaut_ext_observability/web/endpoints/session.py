"""Signing in and out, for browsers: programs send their token with each request."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.web.access import cookie_of
from ordinaut_ext_observability.web.answers import NO_STORE, Refusal
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.queries import read_parameters
from ordinaut_ext_observability.web.sign_in import set_cookie, sign_in_page

_BELOW_MOUNT = re.compile(r"([\w-][\w.-]*(/[\w-][\w.-]*)*/?)?(\?[!-~]*)?", re.ASCII)  # no scheme, host, `..`, escape


async def _login(request: Request) -> Response:
    access, to = context_of(request).access, ""
    request.scope["query_string"] = b""  # addresses end in logs: a token there does not count
    try:
        form = await read_parameters(request)
        to, token = form.text("to"), form.text("token").strip()
        access.check_operator(request, changes=False, typed=token)
    except (QueryError, Refusal) as problem:
        return sign_in_page(request, problem, to)
    access.report_action(request, "/login", 303)
    location = f"./{to if _BELOW_MOUNT.fullmatch(to) else ''}"
    return Response(None, 303, {**NO_STORE, "Location": location, "Set-Cookie": set_cookie(request, token)})


async def _logout(request: Request) -> Response:
    context_of(request).access.check_operator(request, changes=False, typed=cookie_of(request) or "")
    return sign_in_page(request, Refusal(200, "signed_out", "Signed out."), "")


_FORM = dict.fromkeys((400, 401, 403, 404, 429), "The form again, and why.")
ENDPOINTS = (
    Endpoint("/login", "links", _login, "sign a browser in", {303: "Done."} | _FORM, ("text/html",), ("POST",)),
    Endpoint("/logout", "links", _logout, "sign it out", {200: "The form."} | _FORM, ("text/html",), ("POST",)),
)
