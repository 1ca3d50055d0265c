"""API processes are replaced a generation at a time, under load: no counter falls, whoever is asked.

Run it by its path: `python -m pytest -s tests/long/test_generations.py`. It takes five minutes and prints its figures.
"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.test_mixed_processes import APPLICATION, end_with_workers

SECONDS = 60.0
PAUSE_SECONDS = 0.003
"""Between two scrapes."""

LOAD_PAUSE_SECONDS = 0.01

UVICORN = ("uvicorn", "application:app", "--loop", "uvloop", "--port", "{port}", "--workers", "3", "--no-access-log")
GUNICORN = ("gunicorn", "-k", "uvicorn.workers.UvicornWorker", "application:app", "-b", "127.0.0.1:{port}", "-w", "3")
SERVERS = {
    "uvicorn": (*UVICORN, "--limit-max-requests", "150"),
    "gunicorn": (*GUNICORN, "--max-requests", "150"),
}


@pytest.mark.parametrize("store", ["redis", "file"])
@pytest.mark.parametrize("server", SERVERS)
def test_no_counter_falls_while_processes_are_replaced(
    start_child: Any, free_port: Any, request: pytest.FixtureRequest, tmp_path: Path, server: str, store: str
) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    port = free_port()
    environ = {"ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.5", "ORDINAUT_OBS_ACCESS_LOG": "false"}
    if store == "redis":
        environ["REDIS_URL"] = request.getfixturevalue("redis_url")
    arguments = [argument.format(port=port) for argument in SERVERS[server]]
    child = start_child("-m", *arguments, environ=environ, cwd=tmp_path)
    child.wait_for_port(port)
    stop = threading.Event()
    threads = [threading.Thread(target=load, args=(port, stop)) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        pages, scrapes, processes, falls = watch(port)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        end_with_workers(child)
    print(
        f"\n{server}, {store}: {len(falls)} falls in {scrapes} scrapes of {pages} with counters, {processes} processes"
    )
    assert falls == [], (len(falls), scrapes)
    assert processes > 5, "no generation was replaced"
    assert scrapes > 0.9 * pages, (scrapes, pages)


def load(port: int, stop: threading.Event) -> None:
    """Requests, each on a connection of its own; not so many that processes do nothing but start."""
    with client(port) as requests:
        while not stop.wait(LOAD_PAUSE_SECONDS):
            get(requests, "/openapi.json")


def watch(port: int) -> tuple[int, int, int, list[tuple[str, float, float]]]:
    """Pages, those with counters, processes seen, and each counter that fell."""
    last: dict[str, float] = {}
    falls, seen, scrapes, pages = [], set(), 0, 0
    end = time.monotonic() + SECONDS
    scraper = client(port)
    while time.monotonic() < end:
        page = get(scraper, "/ext/observability/metrics")
        counters = dict(re.findall(r"^(orchestrator_http\S+_(?:total|count)\{[^}]*\}) (\S+)$", page, re.MULTILINE))
        scrapes += bool(counters)
        pages += bool(page)
        for name, text in counters.items():
            value = float(text)
            if value < last.get(name, 0.0):
                falls.append((name, last[name], value))
            last[name] = value
        time.sleep(PAUSE_SECONDS)
        seen.update(re.findall(r"process_start_time_seconds (\S+)", page))
    scraper.close()
    return pages, scrapes, len(seen), falls


def client(port: int) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        timeout=10,
        trust_env=False,
        verify=False,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def get(requests: httpx.Client, path: str) -> str:
    """The page; empty where the process that had the connection was replaced."""
    try:
        return requests.get(path).text
    except httpx.TransportError:
        return ""
