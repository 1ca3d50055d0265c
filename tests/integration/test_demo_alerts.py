"""Alerts of real servers: workers killed, PostgreSQL stopped; every interval and every `for` is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.demo import servers
from ordinaut_ext_observability.demo.servers import PostgresServer
from tests.conftest import _started

MOUNT = "/ext/observability"
WORKER = "ordinaut_ext_observability.demo.worker"
OVERRIDES = "rules: {NoWorkers: {for: 1s}, database_down: {for: 1s}}"
FAST = {
    "ALERTS_SETTLE_SECONDS": "1",
    "COLLECTOR_INTERVAL_SECONDS": "1",
    "HEALTH_INTERVAL_SECONDS": "0.5",
    "HEARTBEAT_FRESH_SECONDS": "6",
    "HISTORY_INTERVAL_SECONDS": "1",
}
SECONDS = 30.0
"""Longest wait for an alert to fire or to be resolved; most take a tenth."""


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that may be stopped, with the host's tables."""
    server = _started(PostgresServer)
    try:
        server.run_sql((Path(servers.__file__).parent / "schema.sql").read_text())
        yield server
    finally:
        server.stop()


def test_alerts_fire_while_workers_or_database_are_gone(
    serve: Callable[..., Any],
    start_child: Callable[..., Any],
    invoke_command: Callable[..., Any],
    postgres: PostgresServer,
    eventually: Callable[..., bool],
    tmp_path: Path,
) -> None:
    config = tmp_path / "observability.yaml"
    config.write_text(OVERRIDES)
    worker = start_child("-m", WORKER, "1", "1", environ={"DATABASE_URL": postgres.url()})
    served = serve(FastAPI(), DATABASE_URL=postgres.url(), CONFIG=str(config), **FAST)

    def comes(name: str, state: str) -> bool:
        def check() -> bool:
            alerts = served.get(f"{MOUNT}/alerts").json()["alerts"]
            return (name, state) in [(alert["name"], alert["state"]) for alert in alerts]

        return eventually(check, SECONDS)

    assert eventually(lambda: served.value("orchestrator_active_workers") == 1, SECONDS)
    worker.clean_up()
    assert comes("NoWorkers", "firing")
    told = invoke_command("alerts", "--url", served.url)
    assert (told.returncode, "NoWorkers" in told.stdout) == (1, True)
    start_child("-m", WORKER, "1", "1", environ={"DATABASE_URL": postgres.url()})
    assert comes("NoWorkers", "resolved")
    assert invoke_command("alerts", "--url", served.url).returncode == 0
    postgres.process.kill()
    postgres.process.wait(SECONDS)
    assert comes("database_down", "firing")
    postgres.start()
    assert comes("database_down", "resolved")
