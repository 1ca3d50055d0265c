"""Processes whose numbers do not belong together, or do and are shown apart: it is seen, and said."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind
from ordinaut_ext_observability.cli.doctor.environment import merging
from ordinaut_ext_observability.settings.load import load_settings

APPLICATION = """
from fastapi import FastAPI
from ordinaut_ext_observability.extension import ObservabilityExtension
app = FastAPI()
app.include_router(ObservabilityExtension().setup(app=app, mount_path="/ext/observability"), prefix="/ext/observability")
"""
TOKEN = "an-operators-token-0123456789"
QUICK = {
    "ORDINAUT_OBS_HEALTH_INTERVAL_SECONDS": "0.2",
    "ORDINAUT_OBS_OPERATOR_TOKEN": TOKEN,
    "ORDINAUT_OBS_HEALTH_DISABLED_CHECKS": "cpu,memory,disk,network,file_descriptors,event_loop",
}


def report(port: int) -> dict[str, Any]:
    answer = httpx.get(
        f"http://127.0.0.1:{port}/ext/observability/health/checks",
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=10,
    )
    body: dict[str, Any] = answer.json()
    return body


def doctors_problems(port: int) -> list[Finding]:
    """What the doctor finds wrong with the merging of processes, by the environment here."""
    return [finding for finding in merging(load_settings(), port) if finding.kind is Kind.PROBLEM]


def end_with_workers(server: Any) -> None:
    """A supervisor that is killed leaves its workers behind."""
    if server.process.poll() is not None:
        return
    workers = psutil.Process(server.process.pid).children(recursive=True)
    server.process.terminate()
    _, alive = psutil.wait_procs(workers, timeout=5)
    for worker in alive:
        worker.kill()
    server.clean_up()


def relay_check(port: int) -> dict[str, Any]:
    return next((check for check in report(port)["checks"] if check["name"] == "relay"), {"status": "not configured"})


@pytest.fixture
def start_server(start_child: Any, free_port: Any, tmp_path: Path) -> Iterator[Callable[..., tuple[Any, int]]]:
    """Serves the application by this module and these arguments; the process and its port."""
    (tmp_path / "application.py").write_text(APPLICATION)
    with contextlib.ExitStack() as stack:

        def run(*arguments: str, **environ: str) -> tuple[Any, int]:
            port = free_port()
            command = [argument.format(port=port) for argument in arguments]
            server = start_child("-m", *command, environ={**QUICK, **environ}, cwd=tmp_path)
            stack.callback(end_with_workers, server)
            server.wait_for_port(port)
            return server, port

        yield run


THREE_WORKERS = ("uvicorn", "application:app", "--port", "{port}", "--workers", "3")


def test_workers_find_their_store_themselves(start_server: Any, eventually: Any) -> None:
    """Nothing is set but the interval: whichever of them is asked, all requests are shown."""
    _, port = start_server(*THREE_WORKERS, ORDINAUT_OBS_RELAY_INTERVAL_SECONDS="0.2")
    assert eventually(lambda: relay_check(port).get("details", {}).get("processes") == 3, 30)
    base, values = f"http://127.0.0.1:{port}", []

    def shown() -> float:
        page = httpx.get(f"{base}/ext/observability/metrics", trust_env=False, timeout=10).text
        found = re.search(r'^orchestrator_http_requests_total\{[^}]*endpoint="/openapi.json"[^}]*\} (\S+)$', page, re.M)
        return float(found[1]) if found else 0.0

    for _ in range(30):
        httpx.get(f"{base}/openapi.json", trust_env=False)
        values.append(shown())
    assert values == sorted(values)
    assert eventually(lambda: shown() == 30)
    assert relay_check(port)["status"] == "healthy"


def test_workers_without_a_store_say_that_their_numbers_are_apart(
    start_server: Any, clean_process: Any, free_port: Any, eventually: Any
) -> None:
    _, port = start_server(*THREE_WORKERS, ORDINAUT_OBS_STORE="memory")
    clean_process.setenv("ORDINAUT_OBS_STORE", "memory")
    assert eventually(lambda: "3 processes serve at this address" in relay_check(port).get("message", ""), 30)
    # Whichever of them answers, once each has looked since the last one came.
    assert eventually(lambda: {report(port)["status"] for _ in range(20)} == {"degraded"})
    (problem,) = doctors_problems(port)
    assert problem.sign.startswith(f"3 processes serve at port {port} here")
    assert problem.paste.startswith("export ORDINAUT_OBS_STORE=")
    assert not doctors_problems(free_port())


def databases_shown(process: Any) -> int:
    registry = process.merged.relay.shown(fresh=True)
    registry.refresh()
    return "".join(registry.pieces(openmetrics=False)).count("\nordinaut_observability_database_info{")


def test_two_installations_on_one_redis_each_show_their_own(
    start_process: Any, database_url: str, redis_url: str, postgres_server: Any, eventually: Any
) -> None:
    one, other = start_process(database_url, redis_url), start_process(postgres_server.url("host"), redis_url)
    for process in (one, other):
        assert eventually(lambda process=process: databases_shown(process) == 1)
        assert eventually(lambda process=process: process.leads)
        assert process.states()["relay"] == "healthy"
        assert process.merged.relay.exchange.process_count == 1
    assert doctors_problems(80) == []


def test_two_installations_of_one_name_say_so(
    start_process: Any, clean_process: Any, database_url: str, redis_url: str, postgres_server: Any, eventually: Any
) -> None:
    clean_process.setenv("ORDINAUT_OBS_INSTALLATION", "same")
    one, other = start_process(database_url, redis_url), start_process(postgres_server.url("host"), redis_url)
    for process in (one, other):
        assert eventually(lambda process=process: process.states()["relay"] == "degraded")
        assert "processes that read 2 databases are one installation" in process.message("relay")
    assert eventually(lambda: databases_shown(one) == 2)
    (problem,) = doctors_problems(80)
    assert problem.sign.startswith("processes that read 2 databases are one installation")
    assert problem.paste.startswith("export ORDINAUT_OBS_INSTALLATION=")
    other.stop()
    assert eventually(lambda: one.states()["relay"] == "healthy")
    assert eventually(lambda: not doctors_problems(80))


def test_one_database_by_several_names_is_one_installation(
    start_process: Any, database_url: str, redis_url: str, eventually: Any
) -> None:
    """Neither the driver, the user nor this machine's name for itself makes it another."""
    other_name = database_url.replace("127.0.0.1", "localhost").replace("postgresql:", "postgresql+psycopg:")
    assert other_name != database_url
    one, other = start_process(database_url, redis_url), start_process(other_name, redis_url)
    for process in (one, other):
        assert eventually(lambda process=process: process.merged.relay.exchange.process_count == 2)
        assert eventually(
            lambda process=process: str(process.merged.relay.exchange.gauges()).count("database_info") == 2
        )
        assert process.states()["relay"] == "healthy"


def test_nothing_of_the_url_is_published(
    start_process: Any, database_url: str, redis_url: str, eventually: Any
) -> None:
    import redis

    process = start_process(database_url, redis_url)
    assert eventually(lambda: process.states()["database"] == "healthy")
    assert eventually(lambda: "database_info" in str(process.merged.relay.exchange.gauges()))
    with redis.Redis.from_url(redis_url) as client:
        stored = [value for key in client.scan_iter() if client.type(key) == b"hash" for value in client.hvals(key)]
    name = database_url.rpartition("/")[2].encode()
    assert stored
    assert not [value for value in stored if name in value]
