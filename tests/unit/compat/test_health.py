"""The full host's health monitor, on top of ours."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from typing import Any

import pytest

from observability.health import HealthMonitor, HealthStatus, SystemHealthMonitor
from ordinaut_ext_observability.compat import health
from ordinaut_ext_observability.health.model import unknown
from ordinaut_ext_observability.runtime import current


@pytest.fixture
def host(clean_process: pytest.MonkeyPatch) -> types.ModuleType:
    """The host's module of dependencies: coroutine functions, as it has them."""
    clean_process.setenv("ORDINAUT_OBS_HEALTH_DISABLED_CHECKS", "cpu,memory,disk,network,file_descriptors")
    module = types.ModuleType("api.dependencies")
    module.up = {"database": True, "redis": True}  # type: ignore[attr-defined]
    module.redis_client = object()  # type: ignore[attr-defined]

    async def check_database_health() -> bool:
        return module.up["database"]

    async def check_redis_health() -> bool:
        return module.up["redis"]

    module.check_database_health = check_database_health  # type: ignore[attr-defined]
    module.check_redis_health = check_redis_health  # type: ignore[attr-defined]
    clean_process.setitem(sys.modules, "api.dependencies", module)
    return module


def quick(monitor: SystemHealthMonitor) -> dict[str, bool]:
    return asyncio.run(monitor.get_quick_health())


def test_all_is_well(host: Any) -> None:
    assert quick(SystemHealthMonitor()) == {"api": True, "database": True, "redis": True}


@pytest.mark.parametrize("down", ["database", "redis"])
def test_what_is_down_is_told(host: Any, down: str) -> None:
    host.up[down] = False
    monitor = SystemHealthMonitor()
    assert quick(monitor)[down] is False
    report = asyncio.run(monitor.get_system_health(request_id="r1")).to_dict()
    assert report["status"] == ("unhealthy" if down == "database" else "degraded")
    assert current.current_runtime().lifecycle.why_not_ready()


def test_report_has_the_hosts_shape_and_no_texts(host: Any) -> None:
    async def secret() -> None:
        raise ConnectionError("postgresql://u:hunter2@db refused")

    current.current_runtime().health_monitor.register_check("other", secret, required=False)
    report = asyncio.run(SystemHealthMonitor().get_system_health(request_id="r1")).to_dict()
    json.dumps(report)
    assert report["request_id"] == "r1"
    assert report["timestamp"].endswith("Z")
    names = [check["name"] for check in report["checks"]]
    assert {"database", "redis", "event_loop", "other"} <= set(names)
    summary = report["summary"]
    assert summary["total_checks"] == len(names)
    assert summary["healthy_checks"] + summary["degraded_checks"] + summary["unhealthy_checks"] == len(names)
    assert summary["unhealthy_checks"] == 1
    assert "hunter2" not in str(report)


def test_what_is_not_known_yet_does_not_work_yet_and_is_one_of_three_statuses(host: Any) -> None:
    monitor = SystemHealthMonitor()
    runtime = current.current_runtime()
    runtime.health_monitor.register_check("database", lambda: unknown("not read yet"))
    assert quick(monitor)["database"] is False
    report = asyncio.run(monitor.get_system_health()).to_dict()
    assert {check["name"]: check["status"] for check in report["checks"]}["database"] == "degraded"
    runtime.lifecycle.started = True
    assert runtime.lifecycle.why_not_ready() == "unknown"


def test_without_the_hosts_module_nothing_is_down(clean_process: Any) -> None:
    assert quick(SystemHealthMonitor()) == {"api": True, "database": True, "redis": True}


def test_redis_that_is_not_configured_is_not_down(host: Any) -> None:
    host.redis_client = None
    host.up["redis"] = False
    assert quick(SystemHealthMonitor())["redis"] is True


def test_uptime_is_a_duration() -> None:
    monitor = SystemHealthMonitor()
    assert 0 <= monitor.start_time < 60


def test_the_seeds_names_are_there_too() -> None:
    assert HealthStatus.HEALTHY.value == "healthy"
    assert asyncio.run(HealthMonitor().run_all_checks()) == {}


def test_extensions_probe_knows_of_the_database_before_anybody_asked_the_host(host: Any) -> None:
    host.up["database"] = False
    SystemHealthMonitor()
    runtime = current.current_runtime()
    runtime.lifecycle.started = True
    asyncio.run(runtime.health_monitor.run_all_checks())
    assert runtime.lifecycle.why_not_ready()


def test_where_nobody_runs_the_checks_a_failure_shows_at_once(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_OLD_SECONDS", 0.0)
    monitor = SystemHealthMonitor()
    assert quick(monitor)["database"] is True
    host.up["database"] = False
    assert quick(monitor)["database"] is False
