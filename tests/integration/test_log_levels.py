"""A level that one process is asked for holds in the others of the installation: a real worker, over both stores."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

TOKEN = "an-operators-token-0123456789"
NAME = "tests.far"
WORKER = """
import logging, time
from observability.metrics import orchestrator_metrics
orchestrator_metrics.record_worker_heartbeat("w1")
logger, level = logging.getLogger("tests.far"), None
while True:
    if logger.level != level:
        level = logger.level
        print(level, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("store", ["redis", "file"])
def test_worker_follows_and_one_that_starts_later_has_it_at_once(
    request: pytest.FixtureRequest,
    serve: Callable[..., Any],
    start_child: Any,
    eventually: Any,
    tmp_path: Path,
    store: str,
) -> None:
    url = request.getfixturevalue("redis_url") if store == "redis" else f"file:{tmp_path / 'private' / 'store.sqlite'}"
    environ = {
        "REDIS_URL" if store == "redis" else "ORDINAUT_OBS_STORE": url,
        "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.1",
        "ORDINAUT_OBS_INSTALLATION": "tests",
    }
    settings = {name.removeprefix("ORDINAUT_OBS_"): value for name, value in environ.items()}
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, **settings)

    def ask(level: str | None, length: str = "10m") -> Any:
        path, headers = f"/ext/observability/loggers/{NAME}", {"Authorization": f"Bearer {TOKEN}"}
        return served.client.put(path, headers=headers, json={"level": level, "for": length}).json()

    worker = start_child("-c", WORKER, environ=environ)
    assert eventually(lambda: worker.out == "0\n", 30), worker.err
    assert ask("DEBUG")["reach"] == "all processes, within seconds"
    assert eventually(lambda: worker.out == "0\n10\n"), worker.err
    late = start_child("-c", WORKER, environ=environ)
    assert eventually(lambda: late.out.endswith("10\n"), 30), late.err
    ask(None)
    assert eventually(lambda: worker.out.endswith("10\n0\n") and late.out.endswith("10\n0\n")), worker.err
    ask("ERROR", "2s")
    assert eventually(lambda: worker.out.endswith("40\n0\n")), worker.err
    assert eventually(lambda: logging.getLogger(NAME).level == logging.NOTSET)
    assert [line["source"] for line in worker.log_lines(event_type="log_level_changed")][:2] == ["store", "store"]
    for child in (worker, late):
        child.clean_up()
