"""Settings that cannot be used: all reported at once, never in the host's way, and closed where they protect."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.settings import load_settings

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}

WRONG = {
    "ORDINAUT_OBS_DISABLED": "perhaps",
    "ORDINAUT_OBS_HTTP_METRICS": "2",
    "ORDINAUT_OBS_HTTP_BUCKETS": "3,2,1",
    "ORDINAUT_OBS_TRUST_REQUEST_IDS_FROM": "10.0.0.0/99",
    "ORDINAUT_OBS_LABEL_BUDGET": "0",
    "ORDINAUT_OBS_LABEL_BUDGETS": "{not json",
    "ORDINAUT_OBS_SERIES_LIMIT": "many",
    "ORDINAUT_OBS_ACCESS_LOG_SAMPLE_RATIO": "1.5",
    "ORDINAUT_OBS_SLOW_REQUEST_SECONDS": "-1",
    "ORDINAUT_OBS_LOG_DESTINATION": "syslog",
    "ORDINAUT_OBS_OPERATOR_TOKEN": "short-secret",
    "ORDINAUT_OBS_SCRAPE_TOKEN": "also-short",
    "ORDINAUT_OBS_SCRAPE_ALLOW": "the office",
    "ORDINAUT_OBS_MANAGEMENT_PORT": "99999",
    "ORDINAUT_OBS_LOOP_BLOCKED_SECONDS": "0",
}


def make_app() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    return app


def test_every_problem_is_reported_at_once(clean_process: pytest.MonkeyPatch) -> None:
    for variable, value in WRONG.items():
        clean_process.setenv(variable, value)
    assert {problem.variable for problem in load_settings().problems} == set(WRONG)


def test_problem_tells_value_and_what_is_accepted(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_LOG_DESTINATION", "syslog")
    (problem,) = load_settings().problems
    assert problem.value == "syslog"
    assert "'stderr'" in problem.problem
    assert "Default used: stderr" in problem.problem


def test_secret_values_are_masked_everywhere(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, SCRAPE_TOKEN="too-short-a-1")
    config = served.get(f"{MOUNT}/config", headers=AUTHORIZATION)
    index = served.get(f"{MOUNT}/", headers=AUTHORIZATION)
    (problem,) = config.json()["problems"]
    assert (problem["variable"], problem["value"]) == ("ORDINAUT_OBS_SCRAPE_TOKEN", "<masked>")
    served.log.line(event_type="settings_problem")
    for told in (config.text, index.text, served.log.path.read_text()):
        assert "too-short-a-1" not in told
        assert TOKEN not in told


def test_problems_are_in_the_log_the_index_the_config_and_a_metric(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, LABEL_BUDGET="none", SERIES_LIMIT="none")
    expected = {"ORDINAUT_OBS_LABEL_BUDGET", "ORDINAUT_OBS_SERIES_LIMIT"}
    logged = served.log.lines(2, event_type="settings_problem", level="WARNING")
    index = served.get(f"{MOUNT}/", headers=AUTHORIZATION).json()["settings_problems"]
    config = served.get(f"{MOUNT}/config", headers=AUTHORIZATION).json()["problems"]
    for problems in (logged, index, config):
        assert {problem["variable"] for problem in problems} == expected
    served.expect("ordinaut_observability_settings_problems", 2)


@pytest.mark.parametrize("variable", ["SCRAPE_TOKEN", "SCRAPE_ALLOW"])
def test_unusable_protection_of_the_scrape_closes_it(serve: Any, variable: str) -> None:
    served = serve(make_app(), **{variable: "wrong"})
    for path in (f"{MOUNT}/metrics", f"{MOUNT}/health", "/metrics"):
        assert served.get(path).status_code == 403
    assert served.get(f"{MOUNT}/health/live").status_code == 200


def test_unusable_allow_list_is_not_opened_by_a_token(serve: Any) -> None:
    served = serve(make_app(), SCRAPE_ALLOW="wrong", SCRAPE_TOKEN=TOKEN)
    assert served.get(f"{MOUNT}/metrics", headers=AUTHORIZATION).status_code == 403


def test_unusable_operator_token_leaves_the_tier_off(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN="short")
    assert served.get(f"{MOUNT}/", headers={"Authorization": "Bearer short"}).status_code == 404


def test_unusable_trust_list_trusts_nobody(serve: Any) -> None:
    served = serve(make_app(), TRUST_REQUEST_IDS_FROM="wrong")
    assert served.get("/tasks/1", headers={"X-Request-ID": "mine"}).headers["x-correlation-id"] != "mine"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ORDINAUT_OBS_SCRAPE_TOKN", "ORDINAUT_OBS_SCRAPE_TOKEN"),
        ("ORDINAUT_OBS_ACESS_LOG", "ORDINAUT_OBS_ACCESS_LOG"),
        ("ORDINAUT_OBS_MANAGEMENTPORT", "ORDINAUT_OBS_MANAGEMENT_PORT"),
    ],
)
def test_unknown_name_is_reported_with_a_suggestion(
    clean_process: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    clean_process.setenv(variable, "a-secret-perhaps")
    (problem,) = load_settings().problems
    assert problem.variable == variable
    assert f"did you mean {meant}?" in problem.problem
    assert problem.value == "<masked>"


def test_unknown_name_like_no_other_is_reported(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_ZZZ", "1")
    (problem,) = load_settings().problems
    assert problem.variable == "ORDINAUT_OBS_ZZZ"


def test_empty_values_are_unset_ones(clean_process: pytest.MonkeyPatch) -> None:
    for variable in WRONG:
        clean_process.setenv(variable, "")
    assert load_settings().problems == ()


def test_host_with_wrong_settings_answers_as_before(serve: Any, serve_bare: Any) -> None:
    served = serve(make_app(), **{name.removeprefix("ORDINAUT_OBS_"): value for name, value in WRONG.items()})
    bare = serve_bare(make_app())
    for path in ("/tasks/1", "/nowhere", "/tasks/1/"):
        answer, expected = served.client.post(path), bare.client.post(path)
        assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
    assert served.get(f"{MOUNT}/health/ready").status_code == 200


def test_health_says_degraded(serve: Any) -> None:
    response = serve(make_app(), LABEL_BUDGET="none").get(f"{MOUNT}/health")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert {check["name"]: check["status"] for check in response.json()["checks"]}["settings"] == "degraded"


def test_value_that_is_no_text_is_reported_like_any_other(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments hold bytes; Python shows those that are not UTF-8 as lone surrogates."""
    monkeypatch.setenv("ORDINAUT_OBS_LABEL_BUDGET", os.fsdecode(b"\xff\xfe"))
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, MANAGEMENT_PORT="0")
    assert served.get("/tasks/1").status_code == 200
    assert served.get(f"{MOUNT}/config", headers=AUTHORIZATION).status_code == 200
    assert served.get(f"{MOUNT}/", headers=AUTHORIZATION).json()["management_port"].startswith("http://")
    assert served.log.line(event_type="settings_problem")["variable"] == "ORDINAUT_OBS_LABEL_BUDGET"
    assert served.internal_errors() == {}


def test_settings_in_the_environment_take_effect(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, ENVIRONMENT="staging", VERSION="2.2.2", LABEL_BUDGET="50")
    assert served.runtime.settings.problems == ()
    served.expect("ordinaut_observability_build_info", 1, environment="staging", host_version="2.2.2")
    settings = served.get(f"{MOUNT}/config", headers=AUTHORIZATION).json()["settings"]
    assert settings["ORDINAUT_OBS_LABEL_BUDGET"] == 50
    assert settings["ENVIRONMENT"] == "staging"


@pytest.mark.parametrize("value", ["1", "true", "yes", "on"])
def test_disabled_adds_no_route_no_middleware_and_no_thread(set_up: Any, serve_bare: Any, value: str) -> None:
    threads = set(threading.enumerate())
    app = make_app()
    before = (list(app.router.routes), app.build_middleware_stack, app.router.lifespan_context, dict(app.state._state))
    face, _ = set_up(app, DISABLED=value, MANAGEMENT_PORT="0")
    after = (list(app.router.routes), app.build_middleware_stack, app.router.lifespan_context, dict(app.state._state))
    assert face is None
    assert before == after
    served = serve_bare(app)
    response = served.get("/tasks/1", headers={"X-Request-ID": "mine"})
    assert "x-correlation-id" not in response.headers
    assert served.get(f"{MOUNT}/health/live").status_code == 404
    assert served.get("/metrics").status_code == 404
    new = set(threading.enumerate()) - threads
    assert [thread.name for thread in new if thread.name.startswith("observability")] == []
