"""The page on which a browser signs in, and its cookie. Addresses are relative, since a proxy may move the mount."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.web.access import COOKIE, cookie_of
from ordinaut_ext_observability.web.answers import Refusal, html_page

_FORM, _STYLE, _SCRIPT = ((files(__package__) / f"sign_in.{kind}").read_text("utf8") for kind in ("html", "css", "js"))


def sign_in_page(request: Request, problem: Exception, to: str | None = None, *, path: str = "/login") -> Response:
    """The page instead of the endpoint at `path`: its form leads back there, or `to` another. A useless cookie ends."""
    status = problem.response.status_code if isinstance(problem, Refusal) else 400
    segments, depth, site = request.scope["path"].split("/"), path.count("/"), request.headers.get("sec-fetch-site", "")
    here = "/".join(segments[-depth:]) + f"?{request.url.query}" * bool(request.url.query) if to is None else to
    form = "" if status == 404 else _FORM.format("../" * (depth - 1), escape(site), escape(here))
    body = f"<main><h1>Sign in</h1><p>{escape(str(problem))}</p>{form}</main>"
    page = html_page(status, "Sign in", body, style=_STYLE, script=_SCRIPT)
    if status in (200, 401) and cookie_of(request) is not None:
        below = f"; Path={quote('/'.join(segments[:-depth]) or '/')}" * (depth > 1)
        page.headers["Set-Cookie"] = f"{set_cookie(request, '')}; Max-Age=0{below}"
    return page


def set_cookie(request: Request, token: str) -> str:
    """The header that has a browser keep a token. Without a path, that is the folder of the address it asked."""
    return f"{COOKIE}={quote(token, safe='')}; HttpOnly; SameSite=Strict" + "; Secure" * (request.url.scheme == "https")
