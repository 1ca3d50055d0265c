"""Deployments over HTTP, as metrics and as annotations; the host's routes and their calls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.conftest import eventually

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
VIEWER = "a-viewers-token-0123456789012"
JSON = {"Content-Type": "application/json"}
LAST = "orchestrator_deployment_last_"
COMMIT = "4f1c9a2bd7e35a1c90e8f6d2b4a7c3e5f1092d8a"
FULL = {"version": "1.4.2", "commit": COMMIT, "duration": "1m30s", "test_coverage": 87.5, "environment": "staging"}


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    return serve(FastAPI(), OPERATOR_TOKEN=TOKEN, VIEWER_TOKEN=VIEWER, ENVIRONMENT="production")


def call(served: Any, method: str, path: str = "/events/deployment", token: str = TOKEN, **options: Any) -> Any:
    return served.client.request(method, MOUNT + path, headers={**JSON, "Authorization": f"Bearer {token}"}, **options)


def listed(served: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(served, "GET", token=VIEWER).json()["deployments"]
    return found


def test_deployment_is_an_annotation_metrics_and_an_audited_event(served: Any) -> None:
    posted = call(served, "POST", json=FULL).json()
    assert listed(served) == [posted]
    assert posted["time"] == pytest.approx(time.time() * 1000, abs=30_000)
    assert posted["text"] == f"1.4.2 {COMMIT} in staging: success"
    assert posted["tags"] == ["deployment", "staging", "success"]
    labels = {"environment": "staging"}
    assert served.samples("orchestrator_deployments_total") == [({**labels, "outcome": "success"}, 1)]
    assert served.samples(f"{LAST}duration_seconds") == [(labels, 90)]
    assert served.samples(f"{LAST}test_coverage_ratio") == [(labels, 0.875)]
    info = {**labels, "version": "1.4.2", "commit": COMMIT}
    assert served.samples("orchestrator_deployment_info") == [(info, 1)]
    line = served.log.line(event_type="deployment")
    assert (line["version"], line["success"], line["security_event"]) == ("1.4.2", True, True)
    assert served.log.line(event_type="operator_action")["correlation_id"] == line["correlation_id"]


def test_what_was_not_said_of_the_last_deployment_is_absent_and_a_failed_one_does_not_run(served: Any) -> None:
    call(served, "POST", json={**FULL, "environment": "production"})
    call(served, "POST", json={"version": "1.5.0", "success": False})
    assert served.samples(f"{LAST}duration_seconds") == served.samples(f"{LAST}test_coverage_ratio") == []
    assert served.value("orchestrator_deployments_total", environment="production", outcome="failed") == 1
    (info,) = served.samples("orchestrator_deployment_info")
    assert info[0]["version"] == "1.4.2"
    assert [each["version"] for each in listed(served)] == ["1.5.0", "1.4.2"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "body.version: Field required"),
        ({"version": ""}, "body.version: String should have at least 1 character"),
        ({"version": "1", "test_coverage": 101}, "body.test_coverage: Input should be less than or equal to 100"),
        ({"version": "1", "duration": "soon"}, "body.duration: give a duration such as 30s or 10m"),
        ({"version": "1", "success": "perhaps"}, "body.success: Input should be a valid boolean"),
        ({"version": "1", "time": 1e300}, "body.time: Input should be less than or equal to"),
        ({"version": "\ud800"}, "body.version: "),
        ({"version": "1", "branch": "main"}, "body.branch: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_read_is_named(served: Any, body: Any, said: str) -> None:
    answer = call(served, "POST", content=json.dumps(body))
    assert (answer.status_code, answer.json()["message"][: len(said)]) == (422, said)
    assert listed(served) == []


def test_deployment_that_is_reported_again_is_not_another(served: Any) -> None:
    for facts in ({}, {"commit": "4f1c9a2"}, {"commit": "4f1c9a2", "duration": 5}, {"commit": "0aa77c1"}):
        assert call(served, "POST", json={"version": "nightly", **facts}).status_code == 202
    assert [(each["commit"], each["duration_seconds"]) for each in listed(served)] == [
        ("0aa77c1", None),
        ("4f1c9a2", 5),
    ]
    assert served.value("orchestrator_deployments_total") == 2


def test_viewer_reports_nothing_and_the_hundred_newest_are_kept(served: Any) -> None:
    assert call(served, "POST", token=VIEWER, json=FULL).status_code == 403
    for number in range(102):
        assert call(served, "POST", json={"version": f"1.{number}"}).status_code == 202
    assert [each["version"] for each in listed(served)] == [f"1.{number}" for number in range(101, 1, -1)]
    assert served.value("orchestrator_deployments_total") == 102


async def plain(request: Any) -> PlainTextResponse:
    return PlainTextResponse("plain")


def make_host() -> FastAPI:
    inner, outer, app, sub = (
        APIRouter(),
        APIRouter(),
        FastAPI(openapi_url=None),
        FastAPI(),
    )
    inner.add_api_route("/{name}", lambda name: name, methods=["GET", "PUT"])
    inner.add_websocket_route("/socket", lambda connection: None)
    inner.add_route("/plain", plain)
    outer.include_router(inner, prefix="/outer")
    app.include_router(outer, prefix="/v1")
    sub.openapi_url, sub.router.routes = None, [Route("/deep/{x}", plain, methods=["POST"])]
    app.mount("/sub", sub)
    app.router.routes += [Mount("/opaque", app=PlainTextResponse("opaque")), Route("/any/{y}", plain)]

    @app.websocket("/socket")
    async def socket(connection: WebSocket) -> None: ...

    return app


def test_routes_of_routers_and_mounts_have_their_calls_and_the_others_are_never_called(serve: Any) -> None:
    served = serve(make_host(), OPERATOR_TOKEN=TOKEN, HISTORY_INTERVAL_SECONDS="1", EXCLUDE_ENDPOINTS="/any/*")

    def routes() -> dict[str, Any]:
        answer: dict[str, Any] = call(served, "GET", "/routes").json()
        return answer

    assert eventually(lambda: routes()["never_called"])
    assert {each["requests"] for each in routes()["routes"]} == {0, None}
    served.get("/v1/outer/x")
    served.post("/sub/deep/x")
    served.get("/opaque/x")
    called = ["GET /v1/outer/{name}", "POST /sub/deep/{x}", "* /opaque/{path}"]
    assert eventually(lambda: {each["requests"] for each in routes()["routes"]} == {0, 1, None})
    answer = routes()
    shown = {f"{each['method']} {each['route']}": each for each in answer["routes"]}
    assert sorted(answer["never_called"]) == ["GET /v1/outer/plain", "PUT /v1/outer/{name}"]
    assert set(shown) == {*called, *answer["never_called"], "GET /any/{y}"}
    assert all(shown[name]["last_called"] for name in called)
    assert shown["GET /any/{y}"]["requests"] is None  # not measured, which is not the same as not called


def test_routes_past_the_label_budget_are_unknown_and_not_uncalled(serve: Any) -> None:
    app = FastAPI(openapi_url=None)
    for name in "abc":
        app.add_api_route(f"/{name}", plain)
    budgets = {"HISTORY_INTERVAL_SECONDS": "1", "LABEL_BUDGETS": '{"endpoint": 2}'}
    served = serve(app, OPERATOR_TOKEN=TOKEN, **budgets)
    for name in "abc":
        served.get(f"/{name}")

    def requests() -> list[int | None]:
        return [each["requests"] for each in call(served, "GET", "/routes").json()["routes"]]

    assert eventually(lambda: requests() == [1, 1, None])
    assert call(served, "GET", "/routes").json()["never_called"] == []
