"""`notifications`, `alerts why`, `routes show` and `routes test`: what they print of a service, or of a file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

TOKEN = "an-operators-token-0123456789"
MOUNT = "/ext/observability"
CONFIG = """
alertmanager:
  global: {slack_api_url_file: %s}
  route:
    receiver: team
    group_wait: 0s
    routes: [{matchers: [severity=critical], receiver: night, repeat_interval: [1h, 4h], mute_time_intervals: [weekend]}]
  receivers: [{name: team, slack_configs: [{channel: a}]}, {name: night, log_configs: [{}]}]
  time_intervals: [{name: weekend, time_intervals: [{years: ["2001"]}]}]
rules: {HealthCheckNotHealthy: {enabled: false}, Watchdog: {enabled: false}}
"""
TEAM = "{} -> team; after 0 s, then every 300 s; again after 240 min"
NIGHT = '{}/{severity="critical"} -> night; after 0 s, then every 300 s; again after 60'

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    secret, config = tmp_path / "secret", tmp_path / "observability.yaml"
    secret.write_text("https://127.0.0.1:1/services/x")
    config.write_text(CONFIG % secret)
    return config


@pytest.fixture
def service(serve: Any, config: Path, eventually: Any) -> Any:
    served = serve(FastAPI(), CONFIG=str(config), OPERATOR_TOKEN=TOKEN, HISTORY_INTERVAL_SECONDS="1")
    (config.parent / "secret").unlink()  # whoever asks from elsewhere has no such file
    served.headers = {"Authorization": f"Bearer {TOKEN}"}
    alert = {"labels": {"alertname": "Down[a]", "severity": "critical"}}
    assert served.post(f"{MOUNT}/api/v2/alerts", json=[alert], headers=served.headers).status_code == 200

    def sent() -> Any:
        return served.get(f"{MOUNT}/notifications?outcome=sent", headers=served.headers).json()["notifications"]

    assert eventually(sent, 10)
    (served.fingerprint,) = {each["fingerprint"] for each in sent()[0]["alerts"]}
    return served


def test_service_is_asked_who_was_told_and_why_and_by_which_routes(service: Any, invoke_command: Command) -> None:
    def ask(*words: str) -> str:
        done = invoke_command(*words, "--url", service.url, "--token", TOKEN)
        assert done.returncode == 0, done.stdout
        return done.stdout

    _, line = ask("notifications").splitlines()
    assert line.split()[1:] == ["night/log[0]", "Down[a]", "firing", "first", "sent"]
    assert json.loads(ask("notifications", "--json"))["notifications"][0]["receiver"] == "night"
    why = ask("alerts", "why", service.fingerprint)
    assert "state: firing" in why and "night/log[0]: 'told at 20" in why and "that it fires, reason: first" in why
    assert json.loads(ask("alerts", "why", service.fingerprint, "--json"))["routes"][0]["muted_by"] == []
    assert ask("routes", "test", "severity=critical") == f"{NIGHT} min; not in weekend\n"
    assert ask("routes", "show").splitlines() == [TEAM, f"{NIGHT} min; not in weekend"]
    refused = invoke_command("alerts", "why", "0123456789abcdef", "--url", service.url, "--token", TOKEN)
    assert (refused.returncode, refused.stdout.split(",")[0]) == (2, "No such alert fires")


def test_routes_of_a_file_need_no_service(config: Path, invoke_command: Command) -> None:
    tested = invoke_command("routes", "test", "severity=critical", "--config", str(config))
    assert tested.stdout == f"{NIGHT}, 240 min; not in weekend\n"
    assert invoke_command("routes", "test", "severity=x", "--config", str(config)).stdout == f"{TEAM}\n"
    config.write_text("alertmanager: {route: {receiver: none}}")
    refused = invoke_command("routes", "show", "--config", str(config))
    assert (refused.returncode, refused.stdout) == (2, "route.receiver: there is no receiver 'none'; there are none\n")
    config.write_text("{}")
    shown = invoke_command("routes", "show", "--config", str(config)).stdout
    assert [line.split("; ")[0].split(" -> ")[1] for line in shown.splitlines()] == [
        "info",
        "discard",
        "critical",
        "warning",
        "warning-in-business-hours",
    ]


@pytest.mark.parametrize("content", [None, "a: [", "- a"])
def test_file_that_cannot_be_read_is_named(content: str | None, tmp_path: Path, invoke_command: Command) -> None:
    path = tmp_path / "observability.yaml"
    if content is not None:
        path.write_text(content)
    done = invoke_command("routes", "show", "--config", str(path))
    assert done.returncode == 2 and done.stdout.startswith(f"{path}: ")
