"""The checks `HealthMonitor` brings for the host's servers, against real ones, and as one registers them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from ordinaut_ext_observability import HealthMonitor, HealthStatus

JOBS = "CREATE TABLE apscheduler_jobs (id varchar PRIMARY KEY, next_run_time float8, job_state bytea NOT NULL)"
JOB = "INSERT INTO apscheduler_jobs VALUES ('{}', extract(epoch FROM now()) + {}, '')"


@pytest.fixture
def host(clean_process: Any, database_url: str, redis_url: str) -> str:
    """The name of the database of a host whose servers run."""
    clean_process.setenv("DATABASE_URL", database_url)
    clean_process.setenv("REDIS_URL", redis_url)
    return database_url.rpartition("/")[2]


def run_registered() -> dict[str, Any]:
    monitor = HealthMonitor()
    monitor.register_check("database", monitor.database_check)
    monitor.register_check("redis", monitor.redis_check)
    monitor.register_check("scheduler", monitor.scheduler_check)
    return asyncio.run(monitor.run_all_checks())


def test_servers_that_answer_are_healthy(host: str, postgres_server: Any, redis_url: str) -> None:
    postgres_server.run_sql(f"{JOBS}; {JOB.format('a', 30)}; INSERT INTO apscheduler_jobs VALUES ('b', NULL, '')", host)
    with redis.Redis.from_url(redis_url) as client:
        client.xadd("events", {"a": "b"})
        client.xgroup_create("events", "readers")
    results = run_registered()
    assert {name: result.message for name, result in results.items()} == dict.fromkeys(results, "")
    assert results["database"].details == {"connection": "ok", "active_jobs": 2, "queue_depth": 0}
    assert results["redis"].details == {"connection": "ok", "stream_length": 1, "consumer_groups": 1}
    assert (results["scheduler"].details or {})["total_jobs"] == 2


def test_a_host_that_was_never_used_has_a_database_and_no_scheduler(host: str) -> None:
    results = run_registered()
    assert results["database"].details == {"connection": "ok", "active_jobs": 0, "queue_depth": 0}
    assert results["redis"].details == {"connection": "ok", "stream_length": 0, "consumer_groups": 0}
    assert (results["scheduler"].status, "apscheduler_jobs" in results["scheduler"].message) == (
        HealthStatus.UNHEALTHY,
        True,
    )


def test_a_scheduler_that_stands_still_is_unhealthy(host: str, postgres_server: Any) -> None:
    postgres_server.run_sql(f"{JOBS}; {JOB.format('a', -90)}", host)
    message = run_registered()["scheduler"].message
    assert message.startswith("ObservabilityError: the scheduler does not run: a job is overdue by 9")


def test_servers_that_are_not_there_are_unhealthy(clean_process: Any, free_port: Any) -> None:
    clean_process.setenv("DATABASE_URL", f"postgresql://u:hunter2@127.0.0.1:{free_port()}/x")
    results = run_registered()
    assert {result.status for result in results.values()} == {HealthStatus.UNHEALTHY}
    assert results["redis"].message == "ObservabilityError: REDIS_URL is not set"
    assert "hunter2" not in repr(results)
