"""Who may see what: public, scrape and operator tier, and what a refusal looks like."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, JSONResponse, Response

from ordinaut_ext_observability.web.endpoints.base import Endpoint, add_endpoint

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
VIEWER_TOKEN = "a-viewers-token-0123456789"
SCRAPE_TOKEN = "a-scrapers-token-0123456789"
CHANGE = Endpoint("/change", "operator", lambda: Response(), "", {}, methods=("POST",))
PUBLIC = {"/health/live", "/health/ready", "/health/startup"}
OPERATOR_PATHS = ("/", "/config", "/events/deployment", "/routes")
API_PATHS = tuple(
    f"/api/v1/{path}"
    for path in (
        "query",
        "query_range",
        "series",
        "labels",
        "label/{name}/values",
        "metadata",
        "status/buildinfo",
        "format_query",
    )
)
"""Errors there are in Prometheus's shape."""
RULE_PATHS = ("/api/v1/rules", "/api/v1/alerts")
ALERTMANAGER_PATHS = (
    *(f"/api/v2/{path}" for path in ("status", "receivers", "alerts", "alerts/groups", "silences")),
    "/api/v2/silence/{silence_id}",
)
"""Errors there are in Alertmanager's shape."""
LINK_PATH = "/links/{link}"
ALIVE_PATHS = ("/-/healthy", "/-/ready")
TROUBLE_PATHS = ("/errors", "/errors/{fingerprint}", "/requests/slow")
LOGGER_PATHS = ("/loggers", "/loggers/{name}")
DEBUG_PATHS = ("/debug/stacks",)
OPERATOR_ENDPOINTS = (
    *(
        *OPERATOR_PATHS,
        "/health/checks",
        *LOGGER_PATHS,
        *DEBUG_PATHS,
        *TROUBLE_PATHS,
        *API_PATHS,
        *RULE_PATHS,
        *ALERTMANAGER_PATHS,
    ),
)
SCRAPE_PATHS = (*(f"{MOUNT}/{path}" for path in ("metrics", "health", "alerts", "rules")), "/metrics")


def basic(password: str, user: str = "operator") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def routes_of(face: Any) -> Iterator[APIRoute]:
    for route in face.router().routes:
        assert isinstance(route, APIRoute), route
        yield route


def test_every_route_that_is_not_a_public_probe_asks_for_a_token(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, SCRAPE_TOKEN=SCRAPE_TOKEN)
    asked = {(method, route.path) for route in routes_of(served.face) for method in route.methods}
    asked |= {("HEAD", path) for method, path in asked if method == "GET"}
    told = {
        (method, path): served.client.request(method, f"{MOUNT}{path}").status_code for method, path in sorted(asked)
    }
    assert {
        path for (_, path), status in told.items() if status not in (401, 429)
    } == PUBLIC  # 429: there were too many
    assert {status for (_, path), status in told.items() if path in PUBLIC} == {200}


def test_scrape_tier_is_metrics_health_alerts_and_runbooks(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, SCRAPE_TOKEN=SCRAPE_TOKEN)
    open_to_scrapers = {
        path
        for path in {route.path for route in routes_of(served.face)}
        if served.get(f"{MOUNT}{path}", headers=bearer(SCRAPE_TOKEN)).status_code == 200
    }
    assert open_to_scrapers == {"/metrics", "/health", "/alerts", "/rules", "/runbooks", *ALIVE_PATHS} | PUBLIC


@pytest.mark.parametrize("probe", sorted(PUBLIC))
def test_probes_are_public_and_say_a_status_only(serve: Any, probe: str) -> None:
    served = serve(FastAPI(), SCRAPE_TOKEN=SCRAPE_TOKEN, SCRAPE_ALLOW="10.0.0.0/8")
    response = served.get(f"{MOUNT}{probe}")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert served.client.head(f"{MOUNT}{probe}").status_code == 200


@pytest.mark.parametrize("path", OPERATOR_PATHS)
def test_operator_endpoints_are_off_without_a_token(serve: Any, path: str) -> None:
    served = serve(FastAPI())
    for headers in ({}, bearer("anything-at-all-0123"), basic("")):
        response = served.get(f"{MOUNT}{path}", headers=headers)
        assert response.status_code == 404
        assert response.json()["error"] == "not_found"
        assert "ORDINAUT_OBS_OPERATOR_TOKEN" in response.json()["message"]


@pytest.mark.parametrize("path", OPERATOR_PATHS)
def test_operator_passes_with_the_token(serve: Any, path: str) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    for headers in (bearer(TOKEN), basic(TOKEN), basic(TOKEN, "anyone"), basic(TOKEN, ""), basic(f" {TOKEN} ")):
        assert served.get(f"{MOUNT}{path}", headers=headers).status_code == 200


def test_viewer_sees_what_operators_see_and_changes_nothing(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, VIEWER_TOKEN=VIEWER_TOKEN)
    add_endpoint(served.app.router, served.face._endpoint_context, CHANGE)
    for path in (*OPERATOR_PATHS, "/health/checks"):
        for headers in (bearer(VIEWER_TOKEN), basic(VIEWER_TOKEN)):
            assert served.get(f"{MOUNT}{path}", headers=headers).status_code == 200
    assert served.get(f"{MOUNT}/config", headers=bearer(VIEWER_TOKEN[:-1])).status_code == 401
    assert VIEWER_TOKEN not in served.get(f"{MOUNT}/config", headers=bearer(VIEWER_TOKEN)).text
    refused = served.post("/change", headers=bearer(VIEWER_TOKEN))
    assert (refused.status_code, refused.json()["message"]) == (403, "The viewer token changes nothing.")
    served.expect("ordinaut_observability_access_refused_total", 1, tier="operator", reason="viewer")
    assert served.post("/change", headers=bearer(TOKEN)).status_code == 200


def test_viewer_token_alone_turns_on_what_changes_nothing(serve: Any) -> None:
    served = serve(FastAPI(), VIEWER_TOKEN=VIEWER_TOKEN)
    add_endpoint(served.app.router, served.face._endpoint_context, CHANGE)
    index = served.get(f"{MOUNT}/", headers=bearer(VIEWER_TOKEN))
    assert all(endpoint["enabled"] for endpoint in index.json()["endpoints"])
    for headers, status in ((bearer(VIEWER_TOKEN), 403), (bearer("wrong"), 401), ({}, 401)):
        assert served.post("/change", headers=headers).status_code == status


def test_scheme_is_not_case_sensitive(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    assert served.get(f"{MOUNT}/config", headers={"Authorization": f"bEARER {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing_token"),
        (bearer("wrong"), "wrong_token"),
        (bearer(TOKEN[:-1]), "wrong_token"),
        (bearer(TOKEN + "x"), "wrong_token"),
        (basic("wrong"), "wrong_token"),
        ({"Authorization": "Basic !!!"}, "missing_token"),
        ({"Authorization": "Basic"}, "wrong_token"),
        ({"Authorization": f"Digest {TOKEN}"}, "missing_token"),
        ({"Authorization": TOKEN}, "missing_token"),
        (bearer(SCRAPE_TOKEN), "wrong_token"),
        ({"Authorization": b"Bearer \xff\xfe\xe9"}, "wrong_token"),
        ({"Authorization": b"Basic " + base64.b64encode(b"\xff\xfe:\xff")}, "missing_token"),
    ],
)
def test_operator_refusal_is_answered_counted_and_logged(serve: Any, headers: dict[str, Any], reason: str) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, SCRAPE_TOKEN=SCRAPE_TOKEN)
    response = served.get(f"{MOUNT}/config", headers=headers)
    assert response.status_code == 401
    assert "Bearer" in response.headers["www-authenticate"]
    assert "Basic" in response.headers["www-authenticate"]
    body = response.json()
    assert set(body) == {"error", "message", "request_id"}
    assert body["error"] == "unauthorized"
    assert body["request_id"] == response.headers["x-correlation-id"]
    served.expect("ordinaut_observability_access_refused_total", 1, tier="operator", reason=reason)
    event = served.log.line(event_type="access_refused")
    assert event["level"] == "WARNING"
    assert event["security_event"] is True
    assert (event["tier"], event["reason"], event["client_address"]) == ("operator", reason, "127.0.0.1")


def test_tokens_appear_in_no_log_line_and_no_answer(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, SCRAPE_TOKEN=SCRAPE_TOKEN)
    answers = [
        served.get(f"{MOUNT}/config", headers=headers).text
        for headers in (bearer(TOKEN), basic(TOKEN), bearer("a-wrong-token-0123456789"), {})
    ]
    answers.append(served.get(f"{MOUNT}/", headers=bearer(TOKEN)).text)
    served.log.lines(1, event_type="access_refused")
    told = "".join(answers) + served.log.path.read_text()
    for secret in (TOKEN, SCRAPE_TOKEN, "a-wrong-token-0123456789"):
        assert secret not in told


def test_many_refusals_are_429_and_logged_twice(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    statuses = [served.get(f"{MOUNT}/config", headers=bearer("wrong")).status_code for _ in range(30)]
    assert statuses == [401] * 20 + [429] * 10
    last = served.get(f"{MOUNT}/config", headers=bearer("wrong"))
    assert last.json()["error"] == "too_many_refusals"
    assert int(last.headers["retry-after"]) > 0
    served.expect("ordinaut_observability_access_refused_total", 31, tier="operator", reason="wrong_token")
    assert len(served.log.lines(2, event_type="access_refused")) == 2


def test_right_token_passes_while_others_are_refused(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    for _ in range(25):
        served.get(f"{MOUNT}/config", headers=bearer("wrong"))
    assert served.get(f"{MOUNT}/config", headers=bearer(TOKEN)).status_code == 200


def test_scrape_is_open_by_default(serve: Any) -> None:
    served = serve(FastAPI())
    assert [served.get(path).status_code for path in SCRAPE_PATHS] == [200] * 5


@pytest.mark.parametrize("path", SCRAPE_PATHS)
def test_scrape_token_is_asked_for(serve: Any, path: str) -> None:
    served = serve(FastAPI(), SCRAPE_TOKEN=SCRAPE_TOKEN)
    assert served.get(path).status_code == 401
    assert served.get(path, headers=bearer("wrong")).status_code == 401
    assert served.get(path, headers=bearer(SCRAPE_TOKEN)).status_code == 200
    assert served.get(path, headers=basic(SCRAPE_TOKEN)).status_code == 200
    served.expect("ordinaut_observability_access_refused_total", 2, tier="scrape")


@pytest.mark.parametrize(("networks", "status"), [("127.0.0.0/8", 200), ("10.0.0.0/8,::1", 403), ("127.0.0.1", 200)])
def test_scrape_allow_list(serve: Any, networks: str, status: int) -> None:
    served = serve(FastAPI(), SCRAPE_ALLOW=networks)
    for path in SCRAPE_PATHS:
        response = served.get(path)
        assert response.status_code == status
        if status == 403:
            assert response.json()["error"] == "forbidden"


def test_scrape_token_does_not_help_an_address_outside_the_list(serve: Any) -> None:
    served = serve(FastAPI(), SCRAPE_TOKEN=SCRAPE_TOKEN, SCRAPE_ALLOW="10.0.0.0/8")
    assert served.get(f"{MOUNT}/metrics", headers=bearer(SCRAPE_TOKEN)).status_code == 403
    served.expect("ordinaut_observability_access_refused_total", 1, tier="scrape", reason="address")


def test_health_names_states_only(serve: Any) -> None:
    report = serve(FastAPI()).get(f"{MOUNT}/health").json()
    assert report["status"] in ("healthy", "degraded")
    states = {check["name"]: check["status"] for check in report["checks"]}
    assert (states["event_loop"], states["settings"]) == ("healthy", "healthy")
    for check in report["checks"]:
        words = [value for value in check.values() if isinstance(value, str)]
        assert set(words) <= {check["name"], "healthy", "degraded", "unhealthy", "unknown"}


def test_index_lists_exactly_the_endpoints_there_are(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    index = served.get(f"{MOUNT}/", headers=bearer(TOKEN)).json()
    listed = {endpoint["path"] for endpoint in index["endpoints"]}
    assert listed == {route.path for route in routes_of(served.face)}
    for endpoint in index["endpoints"]:
        assert endpoint["enabled"] is True
        method = endpoint["methods"].partition(",")[0]
        needs_more = endpoint["path"].startswith("/api/v1/") or "{" in endpoint["path"] or method == "POST"
        expected = (200, 400, 401, 403, 404, 422) if needs_more else (200,)  # a query, a name, a body
        expected = (401,) if endpoint["path"] in ("/login", "/logout") else expected  # a form
        window = {"window": "1s"} if endpoint["path"].startswith("/debug/") else {}
        answer = served.client.request(method, f"{MOUNT}{endpoint['path']}", headers=bearer(TOKEN), params=window)
        assert answer.status_code in expected or endpoint["path"] in RULE_PATHS  # which have no answer yet


def test_config_shows_settings_with_masked_secrets(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, SCRAPE_TOKEN=SCRAPE_TOKEN, LABEL_BUDGET="77")
    settings = served.get(f"{MOUNT}/config", headers=bearer(TOKEN)).json()["settings"]
    assert settings["ORDINAUT_OBS_LABEL_BUDGET"] == 77
    assert settings["ORDINAUT_OBS_OPERATOR_TOKEN"] == "set"
    assert settings["ORDINAUT_OBS_SCRAPE_TOKEN"] == "set"


@pytest.fixture
def guarded(set_up: Any, serve_bare: Any) -> Any:
    """An application with endpoints of the operator tier to POST to: /change changes something, /ask does not."""
    app = FastAPI()
    face, log = set_up(app, OPERATOR_TOKEN=TOKEN)
    router = APIRouter()
    for path, changes in (("/change", True), ("/ask", False)):
        endpoint = Endpoint(path, "operator", lambda: Response(), "", {}, methods=("POST",), changes=changes)
        add_endpoint(router, face._endpoint_context, endpoint)
    app.include_router(router)
    served = serve_bare(app)
    served.log = log
    return served


@pytest.mark.parametrize(
    "browser",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
    ],
)
def test_change_from_another_origin_with_basic_is_refused(guarded: Any, browser: dict[str, str]) -> None:
    response = guarded.post("/change", headers={**basic(TOKEN), **browser})
    assert response.status_code == 403
    assert response.json()["error"] == "forbidden"
    guarded.expect("ordinaut_observability_access_refused_total", 1, tier="operator", reason="cross_origin")
    assert guarded.log.line(event_type="access_refused")["reason"] == "cross_origin"


@pytest.mark.parametrize("browser", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_change_from_the_same_origin_with_basic_passes(guarded: Any, browser: dict[str, str]) -> None:
    assert guarded.post("/change", headers={**basic(TOKEN), **browser}).status_code == 200


def test_change_with_the_servers_own_origin_passes(guarded: Any) -> None:
    assert guarded.post("/change", headers={**basic(TOKEN), "Origin": guarded.url}).status_code == 200


def test_change_with_bearer_needs_no_origin(guarded: Any) -> None:
    headers = {**bearer(TOKEN), "Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
    assert guarded.post("/change", headers=headers).status_code == 200


def test_query_from_another_origin_passes_since_it_changes_nothing(guarded: Any) -> None:
    assert guarded.post("/ask", headers={**basic(TOKEN), "Sec-Fetch-Site": "cross-site"}).status_code == 200
    assert guarded.post("/ask").status_code == 401


def test_failure_of_ours_says_nothing_about_itself(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret in the text")

    served.runtime.metrics.registry.pieces = fail
    response = served.get(f"{MOUNT}/metrics")
    assert response.status_code == 500
    assert response.json()["error"] == "internal_error"
    assert "secret" not in response.text
    assert served.internal_errors() == {"endpoint": 1}


def test_failure_of_ours_at_the_root_is_answered_alike(serve: Any) -> None:
    """The host's own handlers must not see an exception of ours."""
    app = FastAPI()
    seen: list[Exception] = []

    @app.exception_handler(Exception)
    async def handle(_: Any, error: Exception) -> Any:
        from starlette.responses import PlainTextResponse

        seen.append(error)
        return PlainTextResponse("the host's handler", 500)

    served = serve(app)

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret in the text")

    served.runtime.metrics.registry.pieces = fail
    response = served.get("/metrics")
    assert seen == []
    assert response.status_code == 500
    assert response.json()["error"] == "internal_error"
    assert served.internal_errors() == {"endpoint": 1}


def test_hosts_openapi_document_has_unique_operation_ids(serve: Any) -> None:
    """FastAPI warns about duplicates whenever the document is made; where warnings are errors it is a 500."""
    document = serve(FastAPI()).get("/openapi.json").json()
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids)


ANSWERS = {
    **dict.fromkeys(PUBLIC, {200, 500, 503}),
    "/metrics": {200, 400, 401, 403, 429, 500, 503},
    "/health": {200, 401, 403, 429, 500, 503},
    **dict.fromkeys(OPERATOR_PATHS, {200, 401, 404, 429, 500}),
    "/": {200, 401, 404, 422, 429, 500},
    "/page": {200, 304, 401, 404, 422, 429, 500},
    "/routes": {200, 401, 404, 429, 500, 503},
    "/health/checks": {200, 401, 404, 422, 429, 500},
    "/loggers": {200, 401, 404, 429, 500},
    "/notifications": {200, 401, 404, 422, 429, 500, 503},
    "/alerts/{fingerprint}/why": {200, 401, 404, 422, 429, 500, 503},
    "/loggers/{name}": {200, 400, 401, 404, 422, 429, 500},
    **dict.fromkeys(("/alerts", "/rules", "/runbooks"), {200, 401, 403, 429, 500}),
    **dict.fromkeys((*TROUBLE_PATHS, *DEBUG_PATHS), {200, 401, 404, 422, 429, 500}),
    **dict.fromkeys(RULE_PATHS, {200, 400, 401, 404, 422, 429, 500, 503}),
    **dict.fromkeys(ALERTMANAGER_PATHS, {200, 400, 401, 404, 422, 429, 500, 503}),
    **dict.fromkeys(ALIVE_PATHS, {200, 401, 403, 429, 500}),
    "/runbooks/{alert}": {200, 401, 403, 404, 422, 429, 500},
    LINK_PATH: {200, 403, 404, 429, 500, 503},
    **dict.fromkeys(API_PATHS, {200, 400, 401, 404, 422, 429, 500, 503}),
}


@pytest.mark.parametrize("default", [JSONResponse, HTMLResponse])
def test_hosts_openapi_document_names_the_type_and_the_status_of_each_answer(serve: Any, default: Any) -> None:
    served = serve(FastAPI(default_response_class=default), OPERATOR_TOKEN=TOKEN)
    document = served.get("/openapi.json").json()
    told = {
        path.removeprefix(MOUNT): item["get"]["responses"] for path, item in document["paths"].items() if "get" in item
    }
    assert {path: set(map(int, responses)) for path, responses in told.items()} == ANSWERS
    for path, responses in told.items():
        for status, answer in responses.items():
            kinds = {"text/plain", "application/openmetrics-text"} if (path, status) == ("/metrics", "200") else None
            kinds = {"application/json", "text/html"} if (path, status) == ("/", "200") else kinds
            kinds = {"text/plain"} if path in ALIVE_PATHS and status == "200" else kinds
            kinds = {"application/json", "text/plain"} if path in DEBUG_PATHS and status == "200" else kinds
            kinds = {"text/html"} if path == LINK_PATH and status != "500" else kinds
            kinds = {"text/html", "text/markdown"} if path.startswith("/runbooks") and status == "200" else kinds
            assert set(answer["content"]) == (kinds or {"application/json"}), (path, status)
            assert answer["description"]
            schema = next(iter(answer["content"].values()))["schema"]
            assert schema["type"] == ("string" if kinds and path != "/" else "object")
            others = API_PATHS + RULE_PATHS + ALERTMANAGER_PATHS
            if (
                kinds is None
                and status not in ("200", "304", "503")
                and not (path in others and status in ("400", "404", "422", "500"))
            ):
                assert set(schema["required"]) == {"error", "message", "request_id"}


def test_answers_are_of_the_types_that_the_document_names(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    told = served.get("/openapi.json").json()["paths"]
    asked = [(path, {}) for path in ANSWERS] + [(path, bearer(TOKEN)) for path in ANSWERS]
    asked += [("/metrics", {"Accept": "application/openmetrics-text"}), ("/metrics?" + "name[]=x&" * 101, {})]
    asked += [("/health/checks?refresh=perhaps", bearer(TOKEN))]
    for path, headers in asked:
        answer = served.get(f"{MOUNT}{path}", headers=headers)
        documented = told[MOUNT + path.partition("?")[0]]["get"]["responses"][str(answer.status_code)]
        assert answer.headers["content-type"].partition(";")[0] in documented["content"]


@pytest.mark.parametrize("path", sorted({*ANSWERS, "/metrics?name[]=ordinaut_observability_build_info"}))
@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_head_is_get_without_the_body(serve: Any, path: str, token: str) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, SCRAPE_TOKEN=TOKEN, MANAGEMENT_PORT="0", ALERTS="false")
    management = served.runtime.ports.notes()["management_port"]
    asked = [
        f"{served.url}{MOUNT}{path}",
        *([] if path.partition("?")[0] in OPERATOR_ENDPOINTS else [management + path]),
    ]
    for url in asked:
        answers = {
            method: served.client.request(method, url, headers={**bearer(token), "Accept-Encoding": "identity"})
            for method in ("GET", "HEAD")
        }
        got, head = answers["GET"], answers["HEAD"]
        assert head.content == b""
        assert head.status_code == got.status_code
        assert set(head.headers) == set(got.headers)
        assert head.headers["content-type"] == got.headers["content-type"]
        assert int(head.headers["content-length"]) > 0
        if "name[]" in path:  # the same each time
            assert head.headers["content-length"] == got.headers["content-length"]
