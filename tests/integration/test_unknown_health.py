"""Health of what has not been read, or is read by nobody: unknown, and never healthy. Real servers, and none."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ServedApp

LED = ("queue", "workers", "scheduler")
HEALTH = "/ext/observability/health"


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def two(start_process: Any, eventually: Any, *urls: str) -> tuple[Any, Any]:
    """One that leads, and one that does not."""
    leader = start_process(*urls)
    assert eventually(lambda: leader.leads and leader.led() != {"unknown"})
    follower = start_process(*urls)
    assert eventually(lambda: follower.states()["database"] == "healthy")
    return leader, follower


# -- The first result --------------------------------------------------------------------------------------------------


def test_refused_connections_are_never_healthy_and_soon_unhealthy(set_up: Any, free_port: Any) -> None:
    """With the checks' usual interval: it takes no second run to believe the first result."""
    from fastapi import FastAPI

    app = FastAPI()
    face, log = set_up(
        app,
        DATABASE_URL=f"postgresql://u:p@127.0.0.1:{free_port()}/x",
        REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
    )
    face._runtime.collectors.database_required = True
    served = ServedApp(app, face, log, {})
    seen: dict[str, set[str]] = {name: set() for name in ("database", "redis", *LED)}
    deadline = time.monotonic() + 10
    try:
        while not ("unhealthy" in seen["database"] and "unhealthy" in seen["redis"]):
            assert time.monotonic() < deadline, seen
            report = served.get(HEALTH).json()
            for check in report["checks"]:
                seen.get(check["name"], set()).add(check["status"])
            assert report["status"] in ("degraded", "unhealthy")
            assert served.get(f"{HEALTH}/ready").status_code == 503
        assert {name: seen[name] - {"unknown"} for name in seen} == {
            "database": {"unhealthy"},
            "redis": {"unhealthy"},
            **dict.fromkeys(LED, set()),
        }
        assert served.get(f"{HEALTH}/live").status_code == 200
    finally:
        served.stop()


def test_a_required_server_that_does_not_answer_is_unknown_and_after_the_grace_unhealthy(
    set_up: Any, deaf: int, eventually: Any
) -> None:
    from fastapi import FastAPI

    app = FastAPI()
    token = "an-operators-token-0123456789"
    face, log = set_up(
        app,
        DATABASE_URL=f"postgresql://u:p@127.0.0.1:{deaf}/x",
        HEALTH_STARTUP_GRACE_SECONDS="2",
        OPERATOR_TOKEN=token,
    )
    face._runtime.collectors.database_required = True
    served = ServedApp(app, face, log, {})

    def database() -> dict[str, Any]:
        report = served.get(f"{HEALTH}/checks", headers={"Authorization": f"Bearer {token}"}).json()
        check: dict[str, Any] = next(check for check in report["checks"] if check["name"] == "database")
        return {"whole": report["status"], "ready": report["ready"], **check}

    try:
        first = database()
        assert (first["status"], first["whole"], first["ready"]) == ("unknown", "degraded", "unavailable")
        assert first["message"] == "not read yet"
        assert first["last_result"] == "unknown"
        assert served.value("orchestrator_health_status", check="database") == 1
        assert eventually(lambda: database()["status"] == "unhealthy")
        last = database()
        assert (last["whole"], last["ready"]) == ("unhealthy", "unavailable")
        assert last["message"].startswith("not read yet; nothing has been known for ")
        assert last["transitions"] == []
    finally:
        served.stop()


def test_a_required_server_that_answers_is_known_with_the_first_probe(set_up: Any, database_url: str) -> None:
    """Readiness does not wait for the next round of the checks."""
    from fastapi import FastAPI

    app = FastAPI()
    face, log = set_up(app, DATABASE_URL=database_url)
    face._runtime.collectors.database_required = True
    served = ServedApp(app, face, log, {})
    begun = time.monotonic()
    try:
        while served.get(f"{HEALTH}/ready").status_code != 200:
            assert time.monotonic() - begun < 12  # before the 15 seconds until the next round
    finally:
        served.stop()


# -- Read by another process -------------------------------------------------------------------------------------------


def test_another_process_reads_as_long_as_it_says_so(
    start_process: Any, eventually: Any, database_url: str, redis_url: str
) -> None:
    """The leader that falls silent still holds the lock: nobody else reads."""
    leader, follower = two(start_process, eventually, database_url, redis_url)
    assert eventually(lambda: follower.led() == {"healthy"}), follower.message("queue")
    leader.merged.relay.stop()
    assert eventually(lambda: follower.led() == {"unknown"})
    assert leader.leads
    assert "has not said lately" in follower.message("queue")
    assert follower.states()["database"] == "healthy"


def test_without_a_store_nobody_knows_whether_another_process_reads(
    start_process: Any, clean_process: Any, eventually: Any, database_url: str
) -> None:
    clean_process.setenv("ORDINAUT_OBS_STORE", "memory")
    leader, follower = two(start_process, eventually, database_url)
    assert leader.led() <= {"healthy", "degraded"}
    for _ in range(3):
        assert follower.led() == {"unknown"}
    assert "ORDINAUT_OBS_STORE" in follower.message("queue")


def test_a_store_that_never_answered_says_nothing_of_another_process(
    start_process: Any, eventually: Any, database_url: str, free_port: Any
) -> None:
    _, follower = two(start_process, eventually, database_url, f"redis://127.0.0.1:{free_port()}/0")
    assert eventually(lambda: follower.states()["relay"] == "degraded")
    assert follower.led() == {"unknown"}


def test_tables_in_another_schema_are_healthy_nowhere(
    start_process: Any, eventually: Any, database_url: str, redis_url: str, postgres_server: Any
) -> None:
    name = database_url.rpartition("/")[2]
    postgres_server.run_sql("ALTER SCHEMA public RENAME TO elsewhere; CREATE SCHEMA public", name)
    leader, follower = two(start_process, eventually, database_url, redis_url)
    for _ in range(3):
        assert leader.led() == {"degraded"}
        assert follower.led() == {"unknown"}
    assert "lacks a table" in leader.message("queue")


def test_where_the_database_went_away_nobody_reads(
    start_process: Any, eventually: Any, database_url: str, postgres_server: Any
) -> None:
    process = start_process(database_url)
    assert eventually(lambda: process.led() <= {"healthy", "degraded"})
    name = database_url.rpartition("/")[2]
    postgres_server.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", "postgres")
    postgres_server.run_sql(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'", "postgres"
    )
    assert eventually(lambda: process.states()["database"] == "unhealthy")
    assert process.led() == {"unknown"}
    assert process.message("queue").startswith("PostgreSQL ")
