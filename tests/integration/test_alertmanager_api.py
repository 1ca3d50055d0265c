"""Alertmanager's API, asked by Alertmanager's own command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
CONFIG = """
alertmanager:
  route:
    receiver: everybody
    group_by: [alertname]
    routes: [{matchers: ['severity="critical"'], receiver: night}]
  receivers: [{name: everybody, log_configs: [{}]}, {name: night}]
  inhibit_rules:
  - {source_matchers: [severity=critical], target_matchers: [severity=warning], equal: [node]}
rules: {HealthCheckNotHealthy: {enabled: false}, Watchdog: {enabled: false}}
"""

Amtool = Callable[..., str]


@pytest.fixture
def api(serve: Any, tmp_path: Path) -> Any:
    config = tmp_path / "observability.yaml"
    config.write_text(CONFIG)
    served = serve(FastAPI(), CONFIG=str(config), OPERATOR_TOKEN=TOKEN)
    served.api = httpx.Client(
        base_url=f"{served.url}{MOUNT}", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
    )
    yield served
    served.api.close()


@pytest.fixture
def amtool(api: Any) -> Amtool:
    command = shutil.which("amtool")
    if command is None:
        if os.environ.get("CI") == "true":
            pytest.fail("amtool is not installed")
        pytest.skip("amtool is not installed (Debian: prometheus-alertmanager)")
    url = f"http://operator:{TOKEN}@127.0.0.1:{api.port}{MOUNT}"

    def run(*arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            [command, *arguments, f"--alertmanager.url={url}"], input=text, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_amtool_adds_and_finds_alerts(amtool: Amtool) -> None:
    amtool("alert", "add", "Down", "node=a", "severity=critical", "--annotation=summary=It is down")
    amtool("alert", "add", "Slow", "node=a", "severity=warning")
    amtool("alert", "add", "Slow", "node=b", "severity=warning")
    shown = json.loads(amtool("alert", "query", "-o", "json"))
    assert {(each["labels"]["alertname"], each["labels"]["node"]) for each in shown} == {("Down", "a"), ("Slow", "b")}
    (down,) = json.loads(amtool("alert", "query", "alertname=Down", "-o", "json"))
    assert down["annotations"] == {"summary": "It is down"}
    assert (down["receivers"], down["status"]["state"]) == ([{"name": "night"}], "active")
    (inhibited,) = json.loads(amtool("alert", "query", "--inhibited", "node=a", "severity=warning", "-o", "json"))
    assert inhibited["status"]["inhibitedBy"] == [down["fingerprint"]]


def test_amtool_makes_changes_ends_and_imports_silences(amtool: Amtool) -> None:
    amtool("alert", "add", "Down", "node=a")
    identity = amtool("silence", "add", "alertname=Down", "--comment=why", "--author=me", "--duration=2h")
    assert amtool("alert", "query", "-o", "json") in ("[]", "null")
    (silence,) = json.loads(amtool("silence", "query", "-o", "json"))
    assert (silence["id"], silence["status"]["state"], silence["createdBy"]) == (identity, "active", "me")
    amtool("silence", "update", identity, "--duration=3h", "--comment=longer")
    exported = amtool("silence", "query", "-o", "json")
    assert json.loads(exported)[0]["comment"] == "longer"
    amtool("silence", "expire", identity)
    assert json.loads(amtool("silence", "query", "-o", "json") or "[]") in ([], None)
    assert len(json.loads(amtool("silence", "query", "--expired", "-o", "json"))) == 1
    amtool("silence", "import", text=exported)
    assert len(json.loads(amtool("silence", "query", "-o", "json"))) == 1
    assert len(json.loads(amtool("alert", "query", "--silenced", "-o", "json"))) == 1


def test_amtool_tests_the_routes_and_shows_them(amtool: Amtool) -> None:
    assert amtool("config", "routes", "test", "severity=critical") == "night"
    assert amtool("config", "routes", "test", "severity=warning") == "everybody"
    assert "receiver: night" in amtool("config", "routes", "show")
    assert "route:" in amtool("config", "show")


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ([{"labels": {}}], 400, "at least one label pair required"),
        ([{"labels": {"a": ""}}], 400, "at least one label pair required"),
        ([{"labels": {"a-b": "c"}}], 400, 'invalid label set: invalid name "a-b"'),
        ([{"labels": {"a": 1}}], 400, "labels must be an object of texts"),
        ([{"labels": {"a": "b"}, "endsAt": "soon"}], 400, "endsAt must be a time such as 2026-11-23T22:19:04.123Z"),
        ({}, 400, "a list of at most 5000 alerts is expected"),
        (b"[", 400, "the body is not JSON"),
    ],
)
def test_wrong_alerts_are_refused_in_words(api: Any, body: Any, status: int, answer: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    refused = api.api.post("/api/v2/alerts", content=content)
    assert (refused.status_code, refused.json()) == (status, answer)


def test_right_alerts_among_wrong_ones_are_taken(api: Any) -> None:
    refused = api.api.post("/api/v2/alerts", json=[{"labels": {}}, {"labels": {"alertname": "X"}}])
    assert refused.status_code == 400
    assert [each["labels"] for each in api.api.get("/api/v2/alerts").json()] == [{"alertname": "X"}]
    taken = api.api.post("/api/v2/alerts", json=[{"labels": {"alertname": "Y"}}])
    assert (taken.status_code, taken.content) == (200, b"")
    (group, other) = api.api.get("/api/v2/alerts/groups").json()
    assert (group["labels"], group["receiver"]) == ({"alertname": "X"}, {"name": "everybody"})
    assert other["alerts"][0]["labels"] == {"alertname": "Y"}


SILENCE = {
    "matchers": [{"name": "a", "value": "b", "isRegex": False, "isEqual": True}],
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2199-01-01T00:00:00Z",
    "createdBy": "me",
    "comment": "why",
}


@pytest.mark.parametrize(
    ("changes", "status", "answer"),
    [
        ({"matchers": []}, 422, {"code": 612, "message": "matchers in body should have at least 1 items"}),
        ({"comment": None}, 422, {"code": 602, "message": "comment in body is required"}),
        ({"endsAt": "2026-01-02T00:00:00Z"}, 400, "end time can't be in the past"),
        ({"endsAt": "2025-01-02T00:00:00Z"}, 400, "start time must be before end time"),
        ({"matchers": [{"name": "a", "value": ".*", "isRegex": True}]}, 400, "at least one matcher must not match"),
        ({"matchers": [{"name": "a", "value": "(", "isRegex": True}]}, 400, "invalid matcher: regular expression"),
        ({"id": "unknown"}, 404, "silence unknown not found"),
    ],
)
def test_wrong_silences_are_refused_in_words(api: Any, changes: dict[str, Any], status: int, answer: Any) -> None:
    refused = api.api.post("/api/v2/silences", json={**SILENCE, **changes})
    assert refused.status_code == status
    said = refused.json()
    assert said.startswith(answer) if isinstance(said, str) else said == answer


def test_silence_that_cannot_be_changed_ends_and_another_begins(api: Any) -> None:
    first = api.api.post("/api/v2/silences", json=SILENCE).json()["silenceID"]
    kept = api.api.get(f"/api/v2/silence/{first}").json()
    assert api.api.post("/api/v2/silences", json={**kept, "comment": "other"}).json()["silenceID"] == first
    other = {**kept, "matchers": [{"name": "a", "value": "c", "isRegex": False, "isEqual": True}]}
    second = api.api.post("/api/v2/silences", json=other).json()["silenceID"]
    assert second != first
    states = {each["id"]: each["status"]["state"] for each in api.api.get("/api/v2/silences").json()}
    assert states == {first: "expired", second: "active"}
    assert api.api.delete(f"/api/v2/silence/{second}").status_code == 200
    assert api.api.delete(f"/api/v2/silence/{second}").status_code == 400
    assert api.api.delete("/api/v2/silence/none").status_code == 404


def test_viewers_see_and_change_nothing_and_others_see_nothing(api: Any) -> None:
    assert api.get(f"{MOUNT}/api/v2/alerts").status_code == 401
    assert api.get(f"{MOUNT}/-/healthy").text == "OK"
