"""The same configuration and the same alerts through a real Alertmanager and through us: the same notifications.

Fifty scenarios run at once, each with a route and a receiver of its own. Alerts and silences change at even seconds,
groups are looked at in odd ones, so that nothing depends on which of both is faster. On a busy machine a timer of either
may be late by more than that: what differs runs again, since a difference of meaning shows each time.
"""

from __future__ import annotations

import http.server
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi import FastAPI

SCENARIOS = 50
UNIT = int(os.environ.get("PARITY_UNIT", "2"))
"""Seconds between a change and the look at its group: more on a machine that is busy."""
STEP_SECONDS = 2.0 * UNIT
STEPS = int(os.environ.get("PARITY_STEPS", "7"))
RUNS = 3
"""Times that a scenario may differ before it is said to."""
MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"

Notification = tuple[str, tuple[str, ...], tuple[str, ...]]
"""The status, the alerts that fire, those that are resolved."""


@dataclass
class Scenario:
    """What happens to the alerts of one route."""

    number: int
    """Those of a later run are SCENARIOS higher."""
    random: random.Random
    group_by: list[str] = field(init=False)
    send_resolved: bool = field(init=False)
    repeat: str = field(init=False)
    firing: dict[str, bool] = field(default_factory=dict)
    silence: dict[str, str] = field(default_factory=dict)
    """The ids of the one that is active, by server."""

    def __post_init__(self) -> None:
        draw = self.random
        self.group_by = draw.choice([["alertname"], ["alertname", "node"], ["..."], []])
        self.send_resolved = draw.random() < 0.8
        self.repeat = draw.choice([f"{5 * UNIT}s", f"{7 * UNIT}s", "1h"])
        self.firing = {f"{name}-{node}": False for name in "xy"[: draw.randint(1, 2)] for node in "ab"}

    def labels(self, alert: str) -> dict[str, str]:
        name, node = alert.split("-")
        severity = "critical" if name == "x" else "warning"
        return {"alertname": name, "node": node, "severity": severity, "scenario": f"s{self.number}"}

    def matchers(self) -> list[dict[str, Any]]:
        chosen = [("scenario", f"s{self.number}", False)]
        if self.random.random() < 0.5:
            chosen.append(("node", self.random.choice(["a", "a|c", ".+"]), True))
        return [{"name": name, "value": value, "isRegex": regex, "isEqual": True} for name, value, regex in chosen]


class Receivers:
    """Notes what is told to each receiver of each server."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, str], list[tuple[str, Notification]]] = defaultdict(list)
        told = self.told

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                names: dict[str, list[str]] = {"firing": [], "resolved": []}
                for alert in body["alerts"]:
                    names[alert["status"]].append(f"{alert['labels']['alertname']}-{alert['labels']['node']}")
                _, server, scenario = self.path.split("/")
                seen = (body["status"], tuple(sorted(names["firing"])), tuple(sorted(names["resolved"])))
                told[server, scenario].append((body["groupKey"], seen))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def by_group(self, server: str, scenario: Scenario) -> dict[str, list[Notification]]:
        found: dict[str, list[Notification]] = defaultdict(list)
        for group, seen in self.told[server, f"s{scenario.number}"]:
            found[group].append(seen)
        return dict(found)


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    made = Receivers()
    yield made
    made.server.shutdown()
    made.server.server_close()


def configuration(scenarios: list[Scenario], url: str, server: str) -> dict[str, Any]:
    return {
        "route": {
            "receiver": "nobody",
            "group_wait": f"{UNIT}s",
            "group_interval": f"{2 * UNIT}s",
            "routes": [
                {
                    "matchers": [f'scenario="s{each.number}"'],
                    "receiver": f"s{each.number}",
                    "group_by": each.group_by,
                    "repeat_interval": each.repeat,
                }
                for each in scenarios
            ],
        },
        "receivers": [
            {"name": "nobody"},
            *(
                {
                    "name": f"s{each.number}",
                    "webhook_configs": [{"url": f"{url}/{server}/s{each.number}", "send_resolved": each.send_resolved}],
                }
                for each in scenarios
            ),
        ],
        "inhibit_rules": [
            {
                "source_matchers": ["severity=critical"],
                "target_matchers": ["severity=warning"],
                "equal": ["scenario", "node"],
            }
        ],
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def scenarios() -> list[Scenario]:
    """Those of every run; what happens in one is the same each time."""
    seed = int(os.environ.get("PARITY_SEED", "1"))
    return [Scenario(number, random.Random(f"{seed}-{number % SCENARIOS}")) for number in range(RUNS * SCENARIOS)]


@pytest.fixture
def servers(
    serve: Any, eventually: Any, receivers: Receivers, scenarios: list[Scenario], tmp_path: Path
) -> Iterator[dict[str, httpx.Client]]:
    command = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if command is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Alertmanager is not installed")
        pytest.skip("Alertmanager is not installed (Debian: prometheus-alertmanager)")
    theirs = tmp_path / "alertmanager.yml"
    theirs.write_text(yaml.safe_dump(configuration(scenarios, receivers.url, "theirs")))
    port = free_port()
    options = (f"--config.file={theirs}", f"--storage.path={tmp_path}/alertmanager", "--cluster.listen-address=")
    listening = f"--web.listen-address=127.0.0.1:{port}"
    with (tmp_path / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen([command, *options, listening], stdout=log, stderr=log)
    ours = tmp_path / "observability.yaml"
    off = {name: {"enabled": False} for name in ("HealthCheckNotHealthy", "Watchdog")}
    config = {"alertmanager": configuration(scenarios, receivers.url, "ours"), "rules": off}
    ours.write_text(yaml.safe_dump(config))
    served = serve(FastAPI(), CONFIG=str(ours), OPERATOR_TOKEN=TOKEN, STRICT_ALERTMANAGER="true")
    clients = {
        "theirs": httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v2", trust_env=False),
        "ours": httpx.Client(
            base_url=f"{served.url}{MOUNT}/api/v2", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
        ),
    }

    def both_answer() -> bool:
        try:
            return all(client.get("/status").status_code == 200 for client in clients.values())
        except httpx.HTTPError:
            return False

    assert eventually(both_answer, 20)
    assert eventually(lambda: served.runtime.alerts.notifications.notifier is not None, 20)
    yield clients
    for client in clients.values():
        client.close()
    process.kill()
    process.wait()


def rfc3339(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def step(scenarios: list[Scenario], servers: dict[str, httpx.Client]) -> None:
    """Change some alerts and silences at both servers."""
    now = datetime.now(UTC)
    alerts = []
    for scenario in scenarios:
        draw = scenario.random
        for name, fires in scenario.firing.items():
            if draw.random() < 0.3:
                scenario.firing[name] = not fires
                ends = now if fires else now + timedelta(hours=1)
                times = {"endsAt": rfc3339(ends)} | ({} if fires else {"startsAt": rfc3339(now)})
                alerts.append({"labels": scenario.labels(name), **times})
        if not scenario.silence and draw.random() < 0.15:
            silence = {
                "matchers": scenario.matchers(),
                "startsAt": rfc3339(now),
                "endsAt": rfc3339(now + timedelta(hours=1)),
                "createdBy": "test",
                "comment": "test",
            }
            for name, client in servers.items():
                scenario.silence[name] = client.post("/silences", json=silence).json()["silenceID"]
        elif scenario.silence and draw.random() < 0.3:
            for name, client in servers.items():
                assert client.delete(f"/silence/{scenario.silence.pop(name)}").status_code == 200
    for client in servers.values():
        assert client.post("/alerts", json=alerts).status_code == 200


def differing(scenarios: list[Scenario], servers: dict[str, httpx.Client], receivers: Receivers) -> list[int]:
    """Run these scenarios at once; the numbers of those that both told differently."""
    begun = time.monotonic()
    for number in range(STEPS):
        time.sleep(max(0.0, begun + number * STEP_SECONDS - time.monotonic()))
        step(scenarios, servers)
    time.sleep(STEP_SECONDS)
    found = []
    for scenario in scenarios:
        theirs, ours = (receivers.by_group(server, scenario) for server in ("theirs", "ours"))
        if theirs != ours:
            found.append(scenario.number)
        for group in {*theirs, *ours}:
            if theirs.get(group) != ours.get(group):
                print(f"{scenario.number} {group}\n  theirs {theirs.get(group)}\n  ours   {ours.get(group)}")
    return found


def test_fifty_scenarios_give_the_same_notifications(
    servers: dict[str, httpx.Client], scenarios: list[Scenario], receivers: Receivers
) -> None:
    numbers = list(range(SCENARIOS))
    for run in range(RUNS):
        found = differing([scenarios[number] for number in numbers], servers, receivers)
        if run == 0:
            assert sum(len(told) for told in receivers.told.values()) > 2 * SCENARIOS
        numbers = [number + SCENARIOS for number in found]
        if not numbers:
            return
    assert found == []
