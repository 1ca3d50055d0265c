"""Rules and alerts over HTTP: who sees what, Prometheus's API, reload."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import eventually as comes_true

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
VIEWER = "a-viewers-token-0123456789012"
SCRAPER = "a-scrapers-token-0123456789"
ALERTING = "rule_files: [{path}]\nrules: {{Watchdog: {{enabled: false}}, HealthCheckNotHealthy: {{enabled: false}}}}\n"
RULES = """
groups:
  - name: queue
    rules:
      - record: work:double
        expr: vector(4) * 2
        labels: {kind: sum}
      - alert: TooMuch
        expr: vector(15) > 10
        labels: {severity: critical, owner: "team-{{ $value }}"}
        annotations: {summary: "{{ $value }} too many"}
      - alert: Waiting
        expr: vector(2)
        for: 1h
        keep_firing_for: 5m
  - name: second
    limit: 1
    interval: 1s
    rules:
      - alert: Broken
        expr: vector(1) + on () (vector(1) or label_replace(vector(1), "a", "b", "", ""))
      - alert: Silent
        expr: max_over_time(nothing[6h]) > 2
        labels: {severity: warning}
"""


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Api:
    """A service with the rules above, whose history ticks when it is told to."""

    def __init__(self, serve: Callable[..., Any], folder: Path, **settings: str) -> None:
        self.path = folder / "rules.yml"
        self.path.write_text(RULES)
        config = folder / "observability.yaml"
        config.write_text(ALERTING.format(path=self.path))
        usual = {"HISTORY_INTERVAL_SECONDS": "300", "ALERTS_SETTLE_SECONDS": "0", "OPERATOR_TOKEN": TOKEN}
        self.served = serve(FastAPI(), CONFIG=str(config), VIEWER_TOKEN=VIEWER, **usual | settings)
        # The round of the start is over then, and the next one far.
        assert comes_true(
            lambda: self.served.runtime.alerts.rounds.progress.states_at is not None or "ALERTS" in settings
        )
        self._time_ms = round(self.served.runtime.clock.wall() * 1000)

    def evaluate(self, times: int = 2) -> None:
        runtime = self.served.runtime
        for _ in range(times):
            self._time_ms += 300_000
            self.served.on_loop(runtime.alerts.rounds.evaluate(self._time_ms))

    def get(self, path: str, token: str = TOKEN, **parameters: Any) -> Any:
        return self.served.get(f"{MOUNT}{path}", params=parameters, headers=bearer(token) if token else {})

    def rules(self, **parameters: Any) -> list[str]:
        """Names of the rules in the answer to these parameters, without built-in ones."""
        answer = self.get("/api/v1/rules", **{"file[]": str(self.path), **parameters})
        assert answer.status_code == 200, answer.text
        return [rule["name"] for group in answer.json()["data"]["groups"] for rule in group["rules"]]


@pytest.fixture
def api(serve: Callable[..., Any], tmp_path: Path) -> Api:
    return Api(serve, tmp_path)


def test_scrapers_see_names_and_states_and_nothing_that_a_rule_says(api: Api) -> None:
    api.evaluate()
    answer = api.get("/alerts", token="").json()
    assert answer.keys() == {"status", "age_seconds", "evaluated_here", "settled", "alerts"}
    assert (answer["status"], answer["evaluated_here"], answer["settled"]) == ("firing", True, True)
    assert [(alert["name"], alert["severity"], alert["state"]) for alert in answer["alerts"]] == [
        ("TooMuch", "critical", "firing"),
        ("Waiting", "", "pending"),
    ]
    assert all(alert.keys() == {"name", "severity", "state", "since"} for alert in answer["alerts"])
    rules = api.get("/rules", token="")
    states = {rule["name"]: (rule.get("state"), rule["health"]) for rule in rules_of(rules)}
    assert states["Broken"] == ("inactive", "err")
    assert (states["work:double"], states["Silent"]) == ((None, "ok"), ("inactive", "ok"))
    assert not [secret for secret in (str(api.path), "vector", "too many", "team-") if secret in rules.text]


def rules_of(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [rule for group in answer.json()["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("token", [TOKEN, VIEWER])
def test_operators_and_viewers_see_everything(api: Api, token: str) -> None:
    api.evaluate()
    alert = api.get("/alerts", token).json()["alerts"][0]
    assert alert["labels"] == {"alertname": "TooMuch", "severity": "critical", "owner": "team-15"}
    assert (alert["annotations"], alert["value"]) == ({"summary": "15 too many"}, "1.5e+01")
    rules = {rule["name"]: rule for rule in rules_of(api.get("/rules", token))}
    assert rules["TooMuch"]["annotations"] == {"summary": "{{ $value }} too many"}
    assert "many" in rules["Broken"]["error"]
    assert rules["Silent"]["notes"][0] == "needs 6h, kept 1h"


def test_operators_need_no_token_of_scrapers(serve: Callable[..., Any], tmp_path: Path) -> None:
    api = Api(serve, tmp_path, SCRAPE_TOKEN=SCRAPER, SCRAPE_ALLOW="10.0.0.0/8,127.0.0.1")
    assert [api.get("/alerts", token).status_code for token in (TOKEN, VIEWER, SCRAPER, "", "wrong")] == [
        *(200, 200, 200),
        *(401, 401),
    ]


def test_what_is_not_known_is_never_shown_as_well(api: Api) -> None:
    api.evaluate()
    progress = api.served.runtime.alerts.rounds.progress
    progress.states_at = None
    assert api.get("/alerts").json()["status"] == api.get("/rules").json()["status"] == "unknown"
    not_yet = api.get("/api/v1/alerts")
    assert (not_yet.status_code, not_yet.json()["errorType"]) == (503, "unavailable")
    api.evaluate(1)
    progress.states_at -= 3600
    old = api.get("/alerts").json()
    assert (old["status"], round(old["age_seconds"])) == ("unknown", 3600)
    assert api.get("/api/v1/alerts").json()["warnings"] == ["this is how it was 3600 s ago"]


def test_process_without_rules_says_so(serve: Callable[..., Any], tmp_path: Path) -> None:
    api = Api(serve, tmp_path, ALERTS="false")
    assert api.get("/alerts").json() == {
        "status": "off",
        "alerts": [],
        **dict.fromkeys(("age_seconds", "evaluated_here", "settled", "problems", "store_problem")),
    }
    assert api.get("/api/v1/rules").status_code == 503
    assert api.served.post(f"{MOUNT}/-/reload", headers=bearer(TOKEN)).json()["error"] == "not_evaluated"


def test_rules_are_asked_for_by_type_name_group_file_and_labels(api: Api) -> None:
    api.evaluate()
    assert api.rules() == ["work:double", "TooMuch", "Waiting", "Broken", "Silent"]
    assert api.rules(type="record") == ["work:double"]
    assert api.rules(**{"rule_name[]": ["Silent", "Broken"], "type": "alert"}) == ["Broken", "Silent"]
    assert api.rules(**{"rule_group[]": "queue", "type": "alert"}) == ["TooMuch", "Waiting"]
    assert api.rules(**{"match[]": ['{severity=~"crit.*"}', '{kind="sum"}']}) == ["work:double", "TooMuch"]
    assert api.rules(**{"match[]": '{owner=~"team.*"}'}) == []
    assert api.rules(**{"file[]": "elsewhere"}) == []
    groups = api.get("/api/v1/rules", exclude_alerts="true").json()["data"]["groups"]
    assert not [rule for group in groups for rule in group["rules"] if rule.get("alerts")]
    by_form = api.served.post(
        f"{MOUNT}/api/v1/rules", data={"type": "record", "file[]": str(api.path)}, headers=bearer(VIEWER)
    )
    assert [rule["name"] for group in by_form.json()["data"]["groups"] for rule in group["rules"]] == ["work:double"]


def test_groups_come_page_by_page(api: Api) -> None:
    api.evaluate()
    pages, token = [], ""
    while not pages or token:
        data = api.get("/api/v1/rules", group_limit=5, **({"group_next_token": token} if token else {})).json()["data"]
        pages.append([group["name"] for group in data["groups"]])
        token = data.get("groupNextToken", "")
    assert [len(page) for page in pages[:-1]] == [5] * (len(pages) - 1)
    assert sum(pages, []) == [group["name"] for group in api.get("/rules").json()["groups"]]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("type", "x"), ("exclude_alerts", "x"), ("match[]", "up +"), ("match[]", "1"), ("group_limit", "0")]
    + [("group_next_token", "x")],
)
def test_wrong_parameter_is_named(api: Api, parameter: str, value: str) -> None:
    api.evaluate(1)
    answer = api.get("/api/v1/rules", **{parameter: value})
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
    assert parameter.partition("_")[0] in answer.json()["error"]


def test_reload_is_for_operators_and_names_file_line_and_reason(api: Api) -> None:
    api.evaluate()
    url = f"{MOUNT}/-/reload"
    assert [api.served.post(url, headers=bearer(token)).status_code for token in (VIEWER, "wrong")] == [403, 401]
    assert api.get("/-/reload").status_code == 405
    api.path.write_text(RULES.replace("vector(2)", "vector(2"))
    refused = api.served.post(url, headers=bearer(TOKEN))
    assert (refused.status_code, refused.json()["error"]) == (422, "rules_refused")
    assert f"{api.path}:13: expr:" in refused.json()["message"]
    api.evaluate()
    assert "Waiting" in api.rules()
    assert len(api.get("/alerts").json()["problems"]) == 1
    api.path.write_text("groups: []")
    assert api.served.post(url, headers=bearer(TOKEN)).json() == {"status": "ok"}
    api.evaluate()
    assert api.rules() == []


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ({}, ""),
        ({"EXTERNAL_URL": "https://a.example/ext/"}, "https://a.example/ext"),
        ({"EXTERNAL_URL": "a.example"}, ""),
    ],
)
def test_links_are_made_with_the_external_url_alone(
    serve: Callable[..., Any], tmp_path: Path, setting: dict[str, str], url: str
) -> None:
    api = Api(serve, tmp_path, **setting)
    api.path.write_text(RULES.replace("{{ $value }} too many", "{{ $externalURL }}"))
    api.evaluate()
    assert api.get("/alerts").json()["alerts"][0]["annotations"]["summary"] == url


def shape(value: Any) -> Any:
    """Names and types in a JSON value."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return "number" if isinstance(value, int | float) else type(value).__name__


def by_name(groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {group["name"]: {**group, "rules": {rule["name"]: rule for rule in group["rules"]}} for group in groups}


def test_answers_have_the_names_types_and_values_of_a_real_prometheus(
    api: Api, tmp_path: Path, free_port: Callable[[], int], eventually: Callable[..., bool]
) -> None:
    api.evaluate()
    theirs = ask_prometheus(api.path, tmp_path, free_port(), eventually)
    ours = {path: api.get(f"/api/v1/{path}", **{"file[]": str(api.path)}).json() for path in theirs}
    assert shape(ours["alerts"]) == shape(theirs["alerts"])
    groups, expected = (by_name(answers["rules"]["data"]["groups"]) for answers in (ours, theirs))
    assert shape(groups) == shape(expected)
    times = ("evaluationTime", "lastEvaluation", "activeAt", "interval", "lastError")
    assert without(groups, times) == without(expected, times)


def without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: without(one, names) for name, one in value.items() if name not in names}
    return [without(one, names) for one in value] if isinstance(value, list) else value


def ask_prometheus(rules: Path, folder: Path, port: int, eventually: Callable[..., bool]) -> dict[str, Any]:
    """The answers of a real Prometheus that evaluates these rules."""
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": {"evaluation_interval": "1s"}, "rule_files": [str(rules)]}))
    options = {"config.file": config, "storage.tsdb.path": folder / "tsdb", "web.listen-address": f"127.0.0.1:{port}"}
    command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as prometheus:
        try:
            answers: dict[str, Any] = {}

            def has_evaluated() -> bool:
                try:
                    for path in ("rules", "alerts"):
                        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/{path}", trust_env=False, verify=False)
                        answers[path] = answer.json()
                except (httpx.TransportError, ValueError):
                    return False
                groups = answers["rules"]["data"]["groups"]
                healths = {rule["health"] for group in groups for rule in group["rules"]}
                return bool(groups) and "unknown" not in healths

            assert eventually(has_evaluated, 20.0)
            return answers
        finally:
            prometheus.terminate()
