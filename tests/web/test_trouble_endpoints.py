"""Errors and slow requests over HTTP: what a failed request leaves, who sees it, who changes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, Response, WebSocket
from starlette.exceptions import HTTPException

from tests.conftest import eventually

ERRORS = "/ext/observability/errors"
SLOW = "/ext/observability/requests/slow"
TOKEN = "an-operators-token-0123456789"
VIEWER = "a-viewers-token-0123456789012"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
SECRET = "hunter2-password"


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/fails/{number}")
    def fails(number: int) -> None:
        raise ValueError(f"{SECRET} {number}")

    @app.get("/logs/{number}")
    def logs(number: int) -> None:
        try:
            fails(number)
        except ValueError:
            logging.getLogger("app").exception("failed")
            raise

    @app.get("/status/{code}")
    def status(code: int) -> Response:
        if code == 404:
            raise HTTPException(code)
        return Response(status_code=code)

    @app.websocket("/socket")
    async def socket(connection: WebSocket) -> None:
        raise LookupError(SECRET)

    return app


@pytest.fixture
def api(serve: Callable[..., Any]) -> Any:
    tokens = {"OPERATOR_TOKEN": TOKEN, "VIEWER_TOKEN": VIEWER}
    return serve(make_app(), VERSION="4.2", CONFIGURE_LOGGING="true", **tokens)


def read(api: Any, path: str = ERRORS, **parameters: Any) -> Any:
    answer = api.get(path, headers=OPERATOR, params=parameters)
    assert SECRET not in answer.text
    return answer.json()


def test_failed_requests_are_one_group_with_the_last_ones_facts(api: Any) -> None:
    for number in range(3):
        last = api.get(f"/fails/{number}", params={"password": SECRET})
    answer = read(api)
    (group,) = answer["errors"]
    assert (answer["scope"], answer["age_seconds"]) == ("process", None)
    assert (group["count"], group["where"], group["release"], group["status"]) == (3, "/fails/{number}", "4.2", "open")
    assert (group["exception_type"], group["frames"]) == ("ValueError", [f"{__name__}:make_app.<locals>.fails"])
    assert group["correlation_id"] == last.headers["x-correlation-id"]
    assert read(api, f"{ERRORS}/{group['fingerprint']}") == group
    assert api.internal_errors() == {}


def test_an_error_that_is_logged_and_leaves_the_application_counts_once(api: Any) -> None:
    api.get("/logs/1")
    api.get("/logs/2")
    # The server logs it once more.
    assert eventually(lambda: api.value("ordinaut_observability_errors_seen_total", outcome="counted_before") == 4)
    (group,) = read(api)["errors"]
    assert (group["count"], group["where"]) == (2, "app")


def test_answers_of_the_applications_own_and_refused_sockets_count_by_what_they_are(api: Any) -> None:
    for code in (200, 404, 503):
        api.get(f"/status/{code}")
    assert read(api)["errors"] == []
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    api.raw(b"GET /socket HTTP/1.1\r\nHost: a\r\n" + upgrade + b"\r\n")
    assert [(group["exception_type"], group["where"]) for group in read(api)["errors"]] == [("LookupError", "/socket")]


def test_an_operator_resolves_a_group_and_a_viewer_does_not(api: Any) -> None:
    api.get("/fails/1")
    name = read(api)["errors"][0]["fingerprint"]
    path = f"{ERRORS}/{name}/resolve"
    assert api.post(path, headers={"Authorization": f"Bearer {VIEWER}"}).status_code == 403
    assert api.get(ERRORS).status_code == api.get(SLOW).status_code == 401
    assert api.post(path, headers=OPERATOR).json()["status"] == "resolved"
    line = api.log.line(event_type="error_group_resolved")
    assert (line["fingerprint"], line["security_event"]) == (name, True)
    api.get("/fails/2")
    group = read(api, f"{ERRORS}/{name}")
    assert (group["status"], group["reopenings"], group["count"]) == ("open", 1, 2)
    for answer in (api.post(f"{ERRORS}/unknown/resolve", headers=OPERATOR), api.get(f"{ERRORS}/x", headers=OPERATOR)):
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_requests_that_failed_or_were_slow_are_shown_by_their_facts(serve: Callable[..., Any]) -> None:
    api = serve(make_app(), OPERATOR_TOKEN=TOKEN, SLOW_REQUEST_SECONDS="30")
    for path in ("/status/200", "/status/503", "/fails/1"):
        last = api.get(path, params={"password": SECRET})
    assert eventually(lambda: len(read(api, SLOW)["requests"]) == 2)
    answer = read(api, SLOW)
    failed, refused = answer["requests"]
    assert (answer["scope"], answer["slow_request_seconds"]) == ("process", 30.0)
    assert (failed["route"], failed["status_code"], failed["exception_type"]) == ("/fails/{number}", 500, "ValueError")
    assert failed["correlation_id"] == last.headers["x-correlation-id"]
    assert (refused["route"], refused["status_code"], refused["exception_type"]) == ("/status/{code}", 503, None)
    assert set(failed) == {
        *("time", "method", "route", "status_code", "duration_seconds", "exception_type", "correlation_id", "trace_id")
    }
    assert read(api, SLOW, limit=1)["requests"] == [failed]


def test_slow_requests_are_those_over_the_threshold(serve: Callable[..., Any]) -> None:
    api = serve(make_app(), OPERATOR_TOKEN=TOKEN, SLOW_REQUEST_SECONDS="0.000001")
    api.get("/status/200")
    assert eventually(lambda: [each["status_code"] for each in read(api, SLOW)["requests"]] == [200])


def test_limit_and_window_choose_the_newest(api: Any) -> None:
    api.get("/fails/1")
    api.get("/logs/1")
    assert [group["where"] for group in read(api, limit=1)["errors"]] == ["app"]
    assert len(read(api, window=3600)["errors"]) == 2
    assert read(api, window=1e-6)["errors"] == []
    for parameters in ({"limit": "0"}, {"window": "-1"}, {"window": "nan"}, {"limit": "many"}):
        assert read(api, **parameters)["error"] == "invalid_request"
