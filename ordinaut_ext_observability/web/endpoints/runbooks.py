"""Runbooks of the built-in alerts, in Markdown, or as a page where a browser asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.alerts.runbooks import built_in_alerts, make_runbook, meaning_of
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.web.answers import error_response, html_page
from ordinaut_ext_observability.web.endpoints.base import Endpoint

_TYPES = ("text/markdown", "text/html")
_HEADERS = {"Cache-Control": "no-cache", "Vary": "Accept"}
_LINE = re.compile(r"(?P<mark>#{1,2}|-|\d+\.) (?P<text>.*)")
_INLINE = re.compile(r"`(?P<code>[^`]+)`|\[(?P<text>[^\]]+)\]\((?P<target>\w+(?:/\w+)*)(?:\.md)?\)")


async def _list(request: Request) -> Response:
    return await in_daemon_thread(_answer, request, "Runbooks", _contents)


async def _runbook(request: Request, alert: str) -> Response:
    alert = alert.removesuffix(".md")  # as runbooks link to one another
    try:
        return await in_daemon_thread(_answer, request, alert, partial(make_runbook, alert))
    except KeyError:
        said = f"No built-in alert has this name, so there is no runbook. There are: {', '.join(built_in_alerts())}."
        return error_response(404, "no_such_runbook", said)


def _contents() -> str:
    lines = (f"- [{name}](runbooks/{name}.md): {meaning_of(name)}" for name in built_in_alerts())
    return "\n".join(("# Runbooks", "", *lines, ""))


def _answer(request: Request, title: str, make: Callable[[], str]) -> Response:
    text = make()
    if "text/html" not in request.headers.get("accept", ""):
        return Response(text, media_type="text/markdown", headers=_HEADERS)
    page = html_page(200, title, to_html(text))
    page.headers.update(_HEADERS)
    return page


def to_html(text: str) -> str:
    """HTML of the Markdown that runbooks have: headings, lists, code, links to runbooks. All else is text."""
    return "".join(_blocks(text))


def _blocks(text: str) -> Iterator[str]:
    for number, part in enumerate(text.split("```")):
        if number % 2:  # within a block of code; its first line says which language it is
            yield f"<pre>{escape(part.partition(chr(10))[2])}</pre>"
            continue
        lines = filter(str.strip, part.split("\n"))
        for kind, group in groupby(lines, key=_kind):
            inner = [_inline(match["text"] if (match := _LINE.fullmatch(line)) else line) for line in group]
            if kind in ("ul", "ol"):
                yield f"<{kind}>{''.join(f'<li>{each}</li>' for each in inner)}</{kind}>"
            else:
                yield from (f"<{kind}>{each}</{kind}>" for each in inner)


def _kind(line: str) -> str:
    match = _LINE.fullmatch(line)
    return {"": "p", "#": "h1", "##": "h2", "-": "ul"}.get(match["mark"] if match else "", "ol")


def _inline(text: str) -> str:
    parts, at = [], 0
    for match in _INLINE.finditer(text):
        code, target = match["code"], match["target"]
        made = f"<code>{escape(code)}</code>" if code else f'<a href="{escape(target)}">{escape(match["text"])}</a>'
        parts += [escape(text[at : match.start()]), made]
        at = match.end()
    return "".join((*parts, escape(text[at:])))


ENDPOINTS = (
    Endpoint("/runbooks", "scrape", _list, "runbooks of the built-in alerts", {200: "Their names."}, _TYPES),
    Endpoint(
        "/runbooks/{alert}",
        "scrape",
        _runbook,
        "what a built-in alert means, and what to do",
        {200: "The runbook.", 404: None, 422: None},
        _TYPES,
    ),
)
