"""The work on an incident: alerts are acknowledged or snoozed, by a link too; maintenance begins.

All of them are silences: who ends one early ends a silence. Opening a link changes nothing, since mail scanners follow
every link; its page has one button. Its guard is the signature.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.alerts.notifications.alert import rfc3339
from ordinaut_ext_observability.alerts.notifications.desk import EVERYTHING, AlertDesk, RefusedError
from ordinaut_ext_observability.alerts.notifications.links import ACTIONS
from ordinaut_ext_observability.alerts.notifications.silences import Silence
from ordinaut_ext_observability.alerts.routing.fields import Duration, Matchers
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.web.answers import error_response, html_page, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

_HOUR_MS: Final = 3_600_000
_Text = Annotated[str, Field(min_length=1, max_length=500)]


class HoldBody(BaseModel, extra="forbid"):
    for_ms: Duration | None = Field(default=None, alias="for")
    by: _Text = "operator"
    comment: str = Field(default="", max_length=500, validation_alias=AliasChoices("comment", "reason"))
    matchers: Matchers = Field(default=[])


class AlertHoldBody(HoldBody):
    kind: Literal["acknowledgement", "snooze"] = "acknowledgement"


async def _acknowledge(request: Request, fingerprint: str, body: AlertHoldBody) -> Response:
    return await _begin(request, AlertDesk.hold, fingerprint, body.kind, body.for_ms, body.by, body.comment)


async def _silence(request: Request, body: HoldBody) -> Response:
    return await _begin(
        request, AlertDesk.begin, "silence", body.for_ms or _HOUR_MS, body.by, body.comment, body.matchers
    )


async def _maintain(request: Request, body: HoldBody) -> Response:
    matchers = body.matchers or EVERYTHING
    return await _begin(
        request, AlertDesk.begin, "maintenance", body.for_ms or _HOUR_MS, body.by, body.comment, matchers
    )


async def _begin(request: Request, begin: Callable[..., Silence], *how: Any) -> Response:
    try:
        return json_response(shown_hold(await in_daemon_thread(begin, context_of(request).desk, *how)))
    except KeyError:
        return error_response(404, "not_found", "No alert of this fingerprint fires.")
    except RefusedError as error:
        return error_response(422, "refused", f"{error}.")
    except ClusterUnavailableError as error:
        return error_response(503, "store_unavailable", f"The store does not answer: {error}.")


def shown_hold(silence: Silence) -> dict[str, Any]:
    """An acknowledgement or a maintenance in JSON; `id` is that of the silence it is."""
    times = {"at": rfc3339(silence.starts_at_ms), "until": rfc3339(silence.ends_at_ms)}
    return {"id": silence.id, "by": silence.created_by, **times, "comment": silence.comment}


async def _link(request: Request) -> Response:
    context = context_of(request)
    links, desk = context.desk.links, context.desk
    meant = links.read(request.path_params["link"], desk.now_ms()) if links is not None else None
    if meant is None:
        status = context.access.refuse_link(request)
        return _page(status, "This link is not valid", "It has expired or is damaged: take one of a newer message.")
    try:
        return await in_daemon_thread(_open, desk, *meant, request.method == "POST")
    except KeyError:
        return _page(404, "This alert does not fire any more", "There is nothing to do.")
    except RefusedError as error:
        return _page(503, "It cannot be done now", str(error))
    except ClusterUnavailableError:
        return _page(503, "It cannot be done now", "The store does not answer: try again in a minute.")


def _open(desk: AlertDesk, action: str, fingerprint: str, acts: bool) -> Response:  # noqa: FBT001 - through a thread
    words, for_ms = ACTIONS[action]
    text = ", ".join(f"{name}={value}" for name, value in sorted(desk.alert(fingerprint).labels.items()))
    if not acts:
        return _page(200, f"{words}?", text, f'<form method="post"><button>{words}</button></form>')
    done = desk.hold(fingerprint, "acknowledgement" if for_ms is None else "snooze", for_ms, "a link in a message")
    return _page(200, f"{words}: done, until {rfc3339(done.ends_at_ms)}", text)


def _page(status_code: int, title: str, text: str, form: str = "") -> Response:
    """A page without scripts; what an alert says is text in it."""
    return html_page(status_code, title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{form}")


_ACKNOWLEDGE = 'acknowledge an alert: {"by": "me", "for": "2h", "comment": "…", "kind": "snooze"}, all as you like'
_SILENCE = 'silence alerts: {"matchers": ["node=a"], "for": "2h", "by": "me", "comment": "…"}'
_START = 'begin a maintenance: {"for": "30m", "reason": "…", "by": "me", "matchers": ["node=a"]}'
_FOLLOW = "acknowledge or snooze an alert, by a signed link in a message"
_SAID = {200: "The silence that it is.", 404: None, 422: None, 503: None}
_PAGE = {200: "A page with one button; POST acts.", **dict.fromkeys((403, 404, 429, 503), "A page that says why not.")}

ENDPOINTS = (
    Endpoint("/alerts/{fingerprint}/ack", "operator", _acknowledge, _ACKNOWLEDGE, _SAID, methods=("POST",)),
    Endpoint("/silences", "operator", _silence, _SILENCE, _SAID, methods=("POST",)),
    Endpoint("/maintenance", "operator", _maintain, _START, _SAID, methods=("POST",)),
    Endpoint("/links/{link}", "links", _link, _FOLLOW, _PAGE, ("text/html",), ("GET", "POST")),
)
