"""The checks that a process has without asking for any, and those it imports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability import HealthCheck, HealthMonitor, HealthStatus
from ordinaut_ext_observability.health.checks import call_imported
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import load_settings

BUILT_IN = {"event_loop", "cpu", "memory", "disk", "file_descriptors", "network", "task_success"}
HEALTHY, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.UNHEALTHY


def required_checks(runtime: Runtime) -> dict[str, bool]:
    return {check.name: check.required for check in runtime.health_monitor.report().checks}


def test_none_of_them_takes_the_process_out_of_service(clean_process: pytest.MonkeyPatch) -> None:
    assert required_checks(Runtime(load_settings())) == dict.fromkeys(BUILT_IN | {"settings"}, False)


def test_each_can_be_left_out(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_HEALTH_DISABLED_CHECKS", "cpu, disk")
    assert set(required_checks(Runtime(load_settings()))) == BUILT_IN - {"cpu", "disk"} | {"settings"}


def test_all_of_them_run_on_this_machine(clean_process: pytest.MonkeyPatch) -> None:
    runtime = Runtime(load_settings())
    results = asyncio.run(runtime.health_monitor.run_all_checks())
    assert set(results) == BUILT_IN | {"settings", "relay"}
    errors = {name: result.message for name, result in results.items() if "Error" in result.message}
    assert errors == {}


def test_disk_paths_are_the_ones_of_the_settings(clean_process: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean_process.setenv("ORDINAUT_OBS_HEALTH_DISK_PATHS", f"/,{tmp_path}")
    results = asyncio.run(Runtime(load_settings()).health_monitor.run_all_checks())
    assert results["disk"].details is not None
    assert set(results["disk"].details["used_percent"]) == {"/", str(tmp_path)}


def test_settings_that_were_not_used_are_degraded(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_HEALTH_INTERVAL_SECONDS", "soon")
    clean_process.setenv("ORDINAUT_OBS_OPERATOR_TOKEN", "short-secret")
    result = asyncio.run(Runtime(load_settings()).health_monitor.run_all_checks())["settings"]
    assert result.status is HealthStatus.DEGRADED
    assert result.message.startswith("2 settings could not be used")
    assert result.details == {"variables": ["ORDINAUT_OBS_HEALTH_INTERVAL_SECONDS", "ORDINAUT_OBS_OPERATOR_TOKEN"]}
    assert "short-secret" not in repr(result)


def test_services_are_asked_without_waiting_for_imports(run_code: Any, tmp_path: Path) -> None:
    """The first import takes longer than some timeouts: it comes before the first run."""
    file = tmp_path / "observability.yaml"
    file.write_text("health: {http: [{name: api, url: 'http://127.0.0.1/'}]}")
    child = run_code(
        f"""
import os, sys
os.environ["ORDINAUT_OBS_CONFIG"] = {str(file)!r}
from ordinaut_ext_observability import current_runtime
assert "httpcore" not in sys.modules
current_runtime()
assert "httpcore" in sys.modules
"""
    )
    assert (child.process.returncode, child.err) == (0, "")


# -- Imported ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with checks in it."""
    import sys

    name = f"checks_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        """
class Nested:
    @staticmethod
    def check():
        return {"nested": True}

def check():
    return {"jobs": 3}

async def awaits():
    return False

def fails():
    raise RuntimeError("no licence")
"""
    )
    (tmp_path / f"{name}_exits.py").write_text("raise SystemExit(3)\n")
    (tmp_path / f"{name}_broken.py").write_text("def check(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for imported in [other for other in sys.modules if other.startswith(name)]:
        del sys.modules[imported]


def run_imported(target: str) -> HealthCheck:
    monitor = HealthMonitor()
    monitor.register_check("imported", partial(call_imported, target))
    return asyncio.run(monitor.run_all_checks())["imported"]


@pytest.mark.parametrize(
    ("target", "status", "message", "details"),
    [
        ("{}:check", HEALTHY, "", {"jobs": 3}),
        ("{}:Nested.check", HEALTHY, "", {"nested": True}),
        ("{}:awaits", UNHEALTHY, "the check returned False", None),
        ("{}:fails", UNHEALTHY, "RuntimeError: no licence", None),
        ("{}_exits:check", UNHEALTHY, "SystemExit: 3", None),
    ],
)
def test_imported_function(module: str, target: str, status: HealthStatus, message: str, details: Any) -> None:
    result = run_imported(target.format(module))
    assert (result.status, result.message, result.details) == (status, message, details)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("{}:missing", "AttributeError"),
        ("{}_missing:check", "ModuleNotFoundError"),
        ("{}_broken:check", "SyntaxError"),
    ],
)
def test_function_that_cannot_be_imported_is_unhealthy(module: str, target: str, error: str) -> None:
    result = run_imported(target.format(module))
    assert result.status is UNHEALTHY
    assert result.message.startswith(error)


def test_nothing_is_imported_before_the_first_run(module: str) -> None:
    import sys

    monitor = HealthMonitor()
    monitor.register_check("imported", partial(call_imported, f"{module}:check"))
    assert module not in sys.modules
    asyncio.run(monitor.run_all_checks())
    assert module in sys.modules
