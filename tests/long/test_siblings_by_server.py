"""Workers of every server see each other where they have no store, and a worker alone sees nobody.

Takes about a minute: `python -m pytest tests/long/test_siblings_by_server.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_mixed_processes import relay_check, report
from tests.integration.test_mixed_processes import start_server as start_server

GUNICORN = ("gunicorn", "-k", "uvicorn.workers.UvicornWorker", "application:app", "-b", "127.0.0.1:{port}", "-w")
SERVERS = {
    "uvicorn": ("uvicorn", "application:app", "--port", "{port}", "--workers"),
    "gunicorn": GUNICORN,
    "gunicorn, preloaded": (GUNICORN[0], "--preload", *GUNICORN[1:]),
    "hypercorn": ("hypercorn", "application:app", "-b", "127.0.0.1:{port}", "-w"),
    "granian": ("granian", "application:app", "--interface", "asgi", "--port", "{port}", "--workers"),
}


@pytest.fixture
def serve(start_server: Any, eventually: Any) -> Any:
    """Serves the application by the server of this name, with so many workers; the port."""

    def run(name: str, workers: str, *further: str, **environ: str) -> int:
        server, port = start_server(*SERVERS[name], workers, *further, **{"ORDINAUT_OBS_STORE": "memory", **environ})
        assert eventually(lambda: server.answers(port) and report(port)["live"] == "ok", 30)
        return int(port)

    return run


@pytest.mark.parametrize("name", SERVERS)
def test_workers_without_a_store_see_each_other(serve: Any, eventually: Any, name: str) -> None:
    port = serve(name, "3")
    assert eventually(lambda: "3 processes serve at this address" in relay_check(port).get("message", ""), 30)


@pytest.mark.parametrize("name", SERVERS)
def test_a_worker_alone_sees_nobody(serve: Any, name: str) -> None:
    port = serve(name, "1")
    assert {(relay_check(port)["status"], report(port)["status"]) for _ in range(50)} == {("not configured", "healthy")}


def test_a_worker_that_is_reloaded_sees_nobody(serve: Any) -> None:
    port = serve("uvicorn", "1", "--reload")
    assert {relay_check(port)["status"] for _ in range(50)} == {"not configured"}


def test_workers_with_a_store_are_merged_and_well(serve: Any, eventually: Any, tmp_path: Path) -> None:
    port = serve("uvicorn", "3", ORDINAUT_OBS_STORE=f"file:{tmp_path}/relay/store.sqlite")
    assert eventually(lambda: relay_check(port).get("details", {}).get("processes") == 3, 30)
    assert relay_check(port)["status"] == "healthy"
