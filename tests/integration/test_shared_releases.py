"""Deployments of several processes of one installation, through its store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI

OPERATOR = {"Authorization": "Bearer an-operators-token-0123456789"}
DEPLOYMENTS = "/ext/observability/events/deployment"
WORKER = """
import time
from observability.metrics import orchestrator_metrics
from ordinaut_ext_observability.runtime.current import current_runtime
orchestrator_metrics.record_worker_heartbeat("w1")
runtime = current_runtime()
while runtime.settings.general.version not in [each.version for each in runtime.deployments.known]:
    time.sleep(0.01)
"""


def test_version_is_a_deployment_once_and_all_processes_know_what_was_posted(
    serve: Callable[..., Any], start_child: Any, eventually: Any, tmp_path: Path
) -> None:
    shared = {"ORDINAUT_OBS_INSTALLATION": "tests", "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.1"}
    shared["ORDINAUT_OBS_STORE"] = f"file:{tmp_path}/store.sqlite"
    settings = {name.removeprefix("ORDINAUT_OBS_"): value for name, value in shared.items()}

    def start_api(version: str) -> Any:
        return serve(FastAPI(), OPERATOR_TOKEN=OPERATOR["Authorization"][7:], VERSION=version, **settings)

    def known(api: Any) -> list[tuple[str, float | None]]:
        deployments = api.get(DEPLOYMENTS, headers=OPERATOR).json()["deployments"]
        return [(each["version"], each["duration_seconds"]) for each in deployments]

    def work(version: str) -> None:
        worker = start_child("-c", WORKER, environ={**shared, "VERSION": version})
        assert worker.process.wait(30) == 0, worker.err

    def total(api: Any) -> float:
        text = api.get("/metrics").text
        return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("orchestrator_deployments_"))

    first = start_api("1.0")
    assert eventually(lambda: known(first) == [("1.0", None)])
    work("1.0")
    work("1.1")
    assert eventually(lambda: known(first) == [("1.1", None), ("1.0", None)])
    second = start_api("1.1")
    posted = second.post(DEPLOYMENTS, headers=OPERATOR, json={"version": "1.1", "commit": "4f1c9a2", "duration": 42})
    assert posted.status_code == 202, posted.text
    assert eventually(lambda: known(first) == [("1.1", 42), ("1.0", None)])  # the same deployment, now with its facts
    assert eventually(lambda: total(first) == total(second) == 2)
    assert first.value("orchestrator_deployment_last_duration_seconds") == 42
    work("1.0")  # an old process that starts again during a roll-out is no deployment
    assert known(first) == [("1.1", 42), ("1.0", None)]
    assert first.internal_errors() == second.internal_errors() == {}
