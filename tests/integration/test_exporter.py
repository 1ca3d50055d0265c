"""A process without HTTP that serves its own metrics: it calls the host's facade, as worker and scheduler do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

WORKER = """
import time
from observability.metrics import orchestrator_metrics
orchestrator_metrics.record_worker_heartbeat("w1")
print("working", flush=True)
while True:
    time.sleep(0.05)
    orchestrator_metrics.record_worker_heartbeat("w1")
"""

Run = Callable[..., tuple[Any, int]]


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port that is taken, with free ones after it."""
    for _ in range(50):
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        try:
            socket.create_server(("127.0.0.1", port + 1)).close()
        except OSError:
            listener.close()
            continue
        yield listener
        listener.close()
        return
    pytest.fail("no two ports side by side are free")


def get(port: int, path: str, **options: Any) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, verify=False, **options)


def opened(child: Any) -> list[str]:
    return [line["url"] for line in child.log_lines(message="exporter open")]


def run(start_child: Any, eventually: Any, **environ: str) -> Any:
    child = start_child("-c", WORKER, environ=environ)
    assert eventually(lambda: "working" in child.out, 20)
    return child


def test_worker_says_that_it_keeps_no_history(start_child: Any, eventually: Any, free_port: Callable[[], int]) -> None:
    port, token = free_port(), "an-operators-token-0123456789"
    environ = {"ORDINAUT_OBS_EXPORTER_PORT": str(port), "ORDINAUT_OBS_OPERATOR_TOKEN": token}
    child = run(start_child, eventually, **environ)
    assert eventually(lambda: opened(child) != [], 20)
    headers = {"Authorization": f"Bearer {token}"}
    answer = get(port, "/ext/observability/api/v1/query?query=up", headers=headers)
    assert (answer.status_code, answer.json()["errorType"]) == (503, "unavailable")
    assert "keeps no history" in answer.json()["error"]


def test_worker_serves_its_metrics_and_probes(start_child: Any, eventually: Any, free_port: Callable[[], int]) -> None:
    port = free_port()
    child = run(start_child, eventually, ORDINAUT_OBS_EXPORTER_PORT=str(port))
    child.wait_for_port(port)
    assert 'orchestrator_worker_heartbeat_total{worker_id="w1"}' in get(port, "/metrics").text
    assert get(port, "/ext/observability/metrics").status_code == 200
    assert eventually(lambda: get(port, "/health/ready").status_code == 200)
    checks = {check["name"]: check["status"] for check in get(port, "/health").json()["checks"]}
    assert {"cpu", "memory", "settings"} <= set(checks)
    assert get(port, "/config").status_code == 404
    assert eventually(lambda: opened(child) == [f"http://127.0.0.1:{port}"])


def test_operators_see_why_a_check_of_a_worker_is_not_well(
    start_child: Any, eventually: Any, free_port: Callable[[], int]
) -> None:
    port, token = free_port(), "an-operators-token-0123456789"
    settings = {"ORDINAUT_OBS_EXPORTER_PORT": str(port), "ORDINAUT_OBS_OPERATOR_TOKEN": token}
    child = run(start_child, eventually, ORDINAUT_OBS_LABEL_BUDGET="many", **settings)
    child.wait_for_port(port)
    assert get(port, "/health/checks").status_code == 401

    def reason() -> str:
        checks = get(port, "/health/checks", headers={"Authorization": f"Bearer {token}"}).json()["checks"]
        return next(check["message"] for check in checks if check["name"] == "settings")

    assert eventually(lambda: "1 setting could not be used" in reason())


def test_taken_port_gives_way_to_the_next(start_child: Any, eventually: Any, taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    child = run(start_child, eventually, ORDINAUT_OBS_EXPORTER_PORT=str(port))
    assert eventually(lambda: opened(child) != [], 20)
    chosen = int(opened(child)[0].rpartition(":")[2])
    assert port < chosen < port + 10
    assert get(chosen, "/metrics").status_code == 200


def test_without_the_setting_nothing_listens(start_child: Any, eventually: Any) -> None:
    child = run(start_child, eventually)
    process = Path(f"/proc/{child.process.pid}")
    rows = [row.split() for row in (process / "net" / "tcp").read_text().splitlines()]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    opened = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            opened.add(os.readlink(descriptor))
    assert not listening & opened


def test_unusable_address_is_one_warning_and_the_worker_works_on(start_child: Any, eventually: Any) -> None:
    child = run(start_child, eventually, ORDINAUT_OBS_EXPORTER_PORT="9464", ORDINAUT_OBS_EXPORTER_HOST="203.0.113.1")
    assert eventually(lambda: child.log_lines(level="WARNING") != [], 20)
    (line,) = child.log_lines(level="WARNING")
    assert "203.0.113.1" in json.dumps(line)
    assert child.process.poll() is None


def test_application_that_serves_metrics_opens_no_exporter(serve: Any, free_port: Callable[[], int]) -> None:
    from fastapi import FastAPI

    from observability.metrics import OrchestrationMetrics

    port = free_port()
    served = serve(FastAPI(), EXPORTER_PORT=str(port))
    OrchestrationMetrics().record_authentication_attempt("credentials", "success")
    served.expect("orchestrator_authentication_attempts_total", 1)
    with pytest.raises(httpx.ConnectError):
        get(port, "/metrics")


FORKING = """
import os, time
from observability.metrics import orchestrator_metrics
orchestrator_metrics.record_worker_heartbeat("parent")
print("working", flush=True)
while not os.path.exists(os.environ["GO_ON"]):
    time.sleep(0.02)
if os.fork():
    os._exit(0)
while True:
    time.sleep(0.05)
    orchestrator_metrics.record_worker_heartbeat("child")
"""


def test_forked_child_serves_its_own_metrics_and_checks(
    start_child: Any, eventually: Any, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """As of a supervisor that forks its workers; the parent's socket is not kept."""
    port, go_on, token = free_port(), tmp_path / "go on", "an-operators-token-0123456789"
    environ = {
        "ORDINAUT_OBS_EXPORTER_PORT": str(port),
        "ORDINAUT_OBS_OPERATOR_TOKEN": token,
        "ORDINAUT_OBS_HEALTH_INTERVAL_SECONDS": "0.2",
        "PYTHONWARNINGS": "ignore",
        "GO_ON": str(go_on),
    }
    child = start_child("-c", FORKING, environ=environ)
    assert eventually(lambda: opened(child) != [], 20)
    go_on.touch()
    assert eventually(lambda: len(opened(child)) == 2, 20)
    try:
        chosen = int(opened(child)[1].rpartition(":")[2])
        assert eventually(lambda: 'worker_id="child"' in get(chosen, "/metrics").text)
        assert eventually(lambda: get(chosen, "/health/ready").status_code == 200)

        def messages() -> list[str]:
            checks = get(chosen, "/health/checks", headers={"Authorization": f"Bearer {token}"}).json()["checks"]
            return [check["message"] for check in checks]

        # What the parent's checks were at is not waited for; on a busy machine the child's own may be late for once.
        assert eventually(lambda: "the previous run has not ended" not in messages(), 20)
    finally:
        (pid,) = {line["process"] for line in child.log_lines(message="exporter open")} - {child.process.pid}
        os.kill(pid, signal.SIGKILL)
