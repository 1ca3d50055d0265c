"""Groups of errors of two real processes that share a file: an application and a worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI

TOKEN = "an-operators-token-0123456789"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
ERRORS = "/ext/observability/errors"
WORKER = """
from observability.logging import worker_logger
from observability.metrics import orchestrator_metrics
orchestrator_metrics.record_worker_heartbeat("w1")
def run(task):
    raise OSError(task)
for task in ("one", "two"):
    try:
        run(task)
    except OSError:
        worker_logger.error("task failed", exc_info=True)
"""


def test_an_application_shows_the_errors_of_a_worker_and_resolves_them_for_all(
    serve: Callable[..., Any], start_child: Any, eventually: Any, tmp_path: Path
) -> None:
    shared = {
        "ORDINAUT_OBS_STORE": f"file:{tmp_path}/store.sqlite",
        "ORDINAUT_OBS_INSTALLATION": "tests",
        "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.1",
    }
    settings = {name.removeprefix("ORDINAUT_OBS_"): value for name, value in shared.items()}
    app = FastAPI()

    @app.get("/fails")
    def fails() -> None:
        raise ValueError

    api = serve(app, OPERATOR_TOKEN=TOKEN, **settings)

    def group(exception_type: str) -> dict[str, Any]:
        answer = api.get(ERRORS, headers=OPERATOR).json()
        assert answer["scope"] == "installation" or not answer["errors"]
        return next((each for each in answer["errors"] if each["exception_type"] == exception_type), {})

    def work() -> None:
        worker = start_child("-c", WORKER, environ=shared)
        assert worker.process.wait(30) == 0, worker.err

    work()
    assert eventually(lambda: group("OSError").get("count") == 2)
    assert (group("OSError")["where"], group("OSError")["frames"][0]) == ("orchestrator.worker", "__main__:run")

    api.get("/fails")
    assert group("ValueError")["count"] == 1  # at once, where it happened

    resolved = api.post(f"{ERRORS}/{group('OSError')['fingerprint']}/resolve", headers=OPERATOR)
    assert resolved.json()["status"] == "resolved"
    work()
    assert eventually(lambda: group("OSError").get("count") == 4)
    assert (group("OSError")["status"], group("OSError")["reopenings"]) == ("open", 1)
    assert api.internal_errors() == {}
