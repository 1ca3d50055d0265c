"""Processes whose numbers do not belong together, or do and are shown apart: it is seen, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx


from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind
from ordinaut_ext_observability.cli.doctor.relaying import relaying
from ordinaut_ext_observability.settings import load_settings

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


def doctors_problems(port: int = 8000) -> list[Finding]:
    """What the doctor finds wrong with the merging of the host's processes, by the environment here."""
    return [finding for finding in relaying(load_settings(), port) if finding.kind is Kind.PROBLEM]


def relay_check(port: int) -> dict[str, Any]:
    return next((check for check in report(port)["checks"] if check["name"] == "relay"), {"status": "not configured"})


def test_workers_without_a_store_say_that_their_numbers_are_apart(
    start_child: Any, clean_process: Any, free_port: Any, eventually: Any, tmp_path: Path
) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    port = free_port()
    server = start_child(
        *("-m", "uvicorn", "application:app", "--port", str(port), "--workers", "3"), environ=QUICK, cwd=tmp_path
    )
    server.wait_for_port(port)
    assert eventually(lambda: "3 processes serve at this address" in relay_check(port).get("message", ""), 30)
    # Whichever of them answers, once each has looked since the last one came.
    assert eventually(lambda: {report(port)["status"] for _ in range(20)} == {"degraded"})
    (problem,) = doctors_problems(port)
    assert problem.sign.startswith(f"3 processes serve on port {port} here")
    assert problem.paste.startswith("export ORDINAUT_OBS_RELAY_DIR=")
    assert not doctors_problems(port + 1)  # another application's
    server.end()
    assert eventually(lambda: not doctors_problems(port))


def test_two_installations_on_one_redis_say_so(
    start_process: Any, database_url: str, redis_url: str, postgres_server: Any, eventually: Any
) -> None:
    one, other = start_process(database_url, redis_url), start_process(postgres_server.url("host"), redis_url)
    for process in (one, other):
        assert eventually(lambda process=process: process.states()["relay"] == "degraded")
        assert "processes of 2 databases share this store" in process.message("relay")

    def databases() -> int:
        registry = one.sources.relay.shown()
        registry.refresh()
        return "".join(registry.pieces(openmetrics=False)).count("\nordinaut_observability_database_info{")

    assert eventually(lambda: databases() == 2)
    (problem,) = doctors_problems()
    assert problem.sign.startswith("processes of 2 databases share this store")
    assert problem.paste.startswith("export REDIS_URL=redis://HOST:6379/1")
    other.sources.stop()
    assert eventually(lambda: one.states()["relay"] == "healthy")
    assert eventually(lambda: not doctors_problems())


def test_one_database_by_several_names_is_one_installation(
    start_process: Any, database_url: str, redis_url: str, eventually: Any
) -> None:
    """Neither the address nor the user makes it another."""
    other_name = database_url.replace("127.0.0.1", "localhost")
    assert other_name != database_url
    one, other = start_process(database_url, redis_url), start_process(other_name, redis_url)
    info = "\nordinaut_observability_database_info{"
    for process in (one, other):
        assert eventually(lambda process=process: process.sources.relay.process_count == 2)
        relay = process.sources.relay
        assert eventually(
            lambda relay=relay: sum(info[1:-1] in str(key) for all_ in relay.gauges() for key in all_) == 2
        )
        assert process.states()["relay"] == "healthy"


def test_nothing_of_the_url_is_published(
    start_process: Any, database_url: str, redis_url: str, eventually: Any
) -> None:
    import redis

    process = start_process(database_url, redis_url)
    assert eventually(lambda: process.states()["database"] == "healthy")
    assert eventually(lambda: "database_info" in str(process.sources.relay.gauges()))
    with redis.Redis.from_url(redis_url) as client:
        stored = [value for key in client.scan_iter() if client.type(key) == b"hash" for value in client.hvals(key)]
    name = database_url.rpartition("/")[2].encode()
    assert stored
    assert not [value for value in stored if name in value]
