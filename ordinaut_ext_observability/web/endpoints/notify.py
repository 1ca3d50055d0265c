"""Test messages, through the integrations that people are told by."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.web.answers import error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of


class TestMessage(BaseModel, extra="forbid"):
    """The name of a receiver, or the key of an integration."""

    to: str


async def _send_test(request: Request, body: TestMessage) -> Response:
    desk = context_of(request).desk
    outcomes = await in_daemon_thread(desk.send_test, body.to)
    if not outcomes:
        known = ", ".join(desk.routing().receivers)
        return error_response(404, "no_such_receiver", f"There is no integration of this name; receivers are {known}.")
    return json_response({"outcomes": outcomes})


_ANSWERS = {200: "What came of it by integration: sent, or why not.", 404: None, 422: None}
ENDPOINTS = (
    Endpoint(
        "/notifications/test",
        "operator",
        _send_test,
        'send a test message: {"to": "critical"}',
        _ANSWERS,
        methods=("POST",),
    ),
)
