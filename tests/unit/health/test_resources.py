"""Checks of what the process runs on, on this machine and on control groups made of files."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ordinaut_ext_observability.health.checks.process import event_loop
from ordinaut_ext_observability.health.checks.resources import (
    CpuCheck,
    NetworkCheck,
    Thresholds,
    disk,
    file_descriptors,
    memory,
)
from ordinaut_ext_observability.health.lifecycle import LoopWatch
from ordinaut_ext_observability.health.model import HealthStatus, Outcome

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY
ROOMY = Thresholds(degraded=1.1, unhealthy=1.2)
"""Never reached."""


@pytest.mark.parametrize(
    ("ratio", "status", "message"),
    [
        (0.0, HEALTHY, ""),
        (0.899, HEALTHY, ""),
        (0.9, DEGRADED, "disk 90% used; degraded from 90% on"),
        (0.979, DEGRADED, "disk 98% used; degraded from 90% on"),
        (0.98, UNHEALTHY, "disk 98% used; unhealthy from 98% on"),
        (1.0, UNHEALTHY, "disk 100% used; unhealthy from 98% on"),
    ],
)
def test_thresholds(ratio: float, status: HealthStatus, message: str) -> None:
    outcome = Thresholds(0.9, 0.98).judge(ratio, "disk", {"a": 1})
    assert outcome == Outcome(status, message, {"a": 1})


# -- CPU ---------------------------------------------------------------------------------------------------------------


def burn(cpu_seconds: float) -> None:
    end = time.thread_time() + cpu_seconds
    while time.thread_time() < end:
        pass


def test_cpu_is_not_judged_before_a_second_has_passed(clock: Any) -> None:
    check = CpuCheck(Thresholds(0.0, 0.0), clock)
    clock.advance(0.9)
    assert check.run() == Outcome(HEALTHY, "not measured for long enough yet")
    clock.advance(0.2)
    burn(0.1)  # the system counts in hundredths of a second
    assert check.run().status is UNHEALTHY
    assert check.run().message == "not measured for long enough yet"


def test_cpu_is_measured_since_the_run_before(clock: Any) -> None:
    check = CpuCheck(ROOMY, clock)
    burn(0.1)
    clock.advance(2)
    outcome = check.run()
    assert outcome.status is HEALTHY
    assert outcome.details["cpus"] == psutil.cpu_count()
    assert 0.0 < outcome.details["used_percent"] <= 100.0
    assert outcome.details["process_percent"] > 0.0


def test_cpu_is_measured_whatever_thread_the_check_runs_in(run_code: Callable[..., Any]) -> None:
    """In a process of its own, where no thread's number was used before."""
    child = run_code(
        """
import threading, time
from ordinaut_ext_observability.health.checks.resources import CpuCheck, Thresholds

class Clock:
    now = 0.0
    def monotonic(self): return self.now
    def wall(self): return self.now

clock = Clock()
check = CpuCheck(Thresholds(degraded=1.1, unhealthy=1.2), clock)
ended = threading.Event()
for _ in range(3):
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    clock.now += 2
    ran = threading.Event()

    def run():
        print(check.run().details["used_percent"] > 0.0, flush=True)
        ran.set()
        ended.wait()

    threading.Thread(target=run, daemon=True).start()
    ran.wait()
ended.set()
"""
    )
    assert (child.process.returncode, child.out) == (0, "True\n" * 3)


# -- Memory ------------------------------------------------------------------------------------------------------------


def cgroup_v2(folder: Path, limit: str, used: int, inactive: int) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nfile 9\n")
    return folder


def cgroup_v1(folder: Path, limit: str, used: int, inactive: int) -> Path:
    memory = folder / "memory"
    memory.mkdir()
    (memory / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (memory / "memory.usage_in_bytes").write_text(f"{used}\n")
    (memory / "memory.stat").write_text(f"cache 5\ntotal_inactive_file {inactive}\n")
    return folder


@pytest.mark.parametrize("make", [cgroup_v2, cgroup_v1])
@pytest.mark.parametrize(
    ("used", "inactive", "status", "counted"),
    [(500, 100, HEALTHY, 400), (950, 0, DEGRADED, 950), (990, 0, UNHEALTHY, 990), (990, 500, HEALTHY, 490)],
)
def test_memory_of_the_container(
    tmp_path: Path, make: Callable[..., Path], used: int, inactive: int, status: HealthStatus, counted: int
) -> None:
    outcome = memory(cgroup=make(tmp_path, "1000", used, inactive))
    assert outcome.status is status
    assert (outcome.details["scope"], outcome.details["used_bytes"], outcome.details["total_bytes"]) == (
        "container",
        counted,
        1000,
    )
    assert outcome.details["process_bytes"] > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: folder,
        lambda folder: cgroup_v2(folder, "max", 1, 0),
        lambda folder: cgroup_v1(folder, "9223372036854771712", 1, 0),
        lambda folder: cgroup_v2(folder, "none of your business", 1, 0),
    ],
    ids=["no control group", "no limit", "no limit in version 1", "not a number"],
)
def test_memory_of_the_machine_where_the_container_has_no_limit(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    outcome = memory(ROOMY, make(tmp_path))
    assert outcome.status is HEALTHY
    assert (outcome.details["scope"], outcome.details["total_bytes"]) == ("machine", psutil.virtual_memory().total)
    assert 0 < outcome.details["used_bytes"] < outcome.details["total_bytes"]


# -- Disk, file descriptors, network -----------------------------------------------------------------------------------


def test_disk_of_every_path(tmp_path: Path) -> None:
    outcome = disk(("/", str(tmp_path)), ROOMY)
    assert outcome.status is HEALTHY
    assert set(outcome.details["used_percent"]) == {"/", str(tmp_path)}


def test_the_fullest_disk_is_the_one_that_is_told() -> None:
    outcome = disk(("/", "/proc"), Thresholds(0.0, 2.0))
    fullest = max(("/", "/proc"), key=lambda path: psutil.disk_usage(path).percent)
    assert outcome.status is DEGRADED
    assert outcome.message.startswith(f"disk of {fullest} ")


def test_a_path_that_there_is_not_fails_the_check(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        disk((str(tmp_path / "nowhere"),))


def test_file_descriptors_against_the_limit() -> None:
    before = file_descriptors().details["open"]
    reader, writer = os.pipe()
    try:
        outcome = file_descriptors()
    finally:
        os.close(reader)
        os.close(writer)
    assert outcome.details["open"] == before + 2
    assert outcome.details["limit"] == psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0]
    assert file_descriptors(Thresholds(0.0, 2.0)).status is DEGRADED


class Counters:
    """The machine's network, as a test has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up = {"eth0": True, "lo": True}
        self.packets = [0, 0]
        self.failed = [0, 0, 0, 0]
        monkeypatch.setattr(psutil, "net_if_stats", self._stats)
        monkeypatch.setattr(psutil, "net_io_counters", self._counters)

    def _stats(self) -> dict[str, Any]:
        from types import SimpleNamespace

        return {name: SimpleNamespace(isup=up) for name, up in self.up.items()}

    def _counters(self) -> Any:
        from types import SimpleNamespace

        names = ("packets_recv", "packets_sent", "errin", "errout", "dropin", "dropout")
        return SimpleNamespace(**dict(zip(names, self.packets + self.failed, strict=True)))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Counters:
    return Counters(monkeypatch)


def test_network_of_this_machine() -> None:
    outcome = NetworkCheck(ROOMY).run()
    assert outcome.status in {HEALTHY, DEGRADED}
    assert "up" in outcome.details


def test_no_interface_but_loopback_is_degraded(network: Counters) -> None:
    network.up = {"eth0": False, "lo": True}
    outcome = NetworkCheck(ROOMY).run()
    assert (outcome.status, outcome.details) == (DEGRADED, {"up": []})


@pytest.mark.parametrize(
    ("sent", "failed", "status"),
    [(1000, 0, HEALTHY), (985, 15, DEGRADED), (850, 150, UNHEALTHY), (10, 80, HEALTHY)],
)
def test_failed_packets_since_the_run_before(network: Counters, sent: int, failed: int, status: HealthStatus) -> None:
    check = NetworkCheck(Thresholds(0.01, 0.1))
    network.packets, network.failed = [10**6, 10**6], [10**5, 0, 0, 10**5]
    assert check.run().status is HEALTHY
    network.packets[0] += sent
    network.failed[2] += failed
    outcome = check.run()
    assert outcome.status is status
    assert outcome.details == {"up": 1, "packets": sent + failed, "failed_packets": failed}
    expected = "" if status is HEALTHY else f"{failed} of {sent + failed} packets failed or were dropped"
    assert outcome.message.startswith(expected)


def test_counters_that_begin_anew_are_no_failure(network: Counters) -> None:
    check = NetworkCheck(Thresholds(0.01, 0.1))
    network.packets, network.failed = [10**6, 0], [10**5, 0, 0, 0]
    check.run()
    network.packets, network.failed = [5, 0], [0, 0, 0, 0]
    assert check.run() == Outcome(HEALTHY, "", {"up": 1, "packets": 0, "failed_packets": 0})


# -- The event loop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "status"), [(0.0, HEALTHY), (0.9, HEALTHY), (1.5, DEGRADED), (60.0, DEGRADED)])
def test_event_loop_that_was_late_is_degraded_once(clock: Any, late: float, status: HealthStatus) -> None:
    watch = LoopWatch(clock)

    async def main() -> list[Outcome]:
        watch.start(asyncio.get_running_loop())
        clock.advance(0.25 + late)
        watch._timer.cancel()  # type: ignore[union-attr]
        watch._beat()
        outcomes = [await event_loop(watch)]
        watch._timer.cancel()  # type: ignore[union-attr]
        clock.advance(0.25)
        watch._beat()
        outcomes.append(await event_loop(watch))
        watch.stop()
        return outcomes

    first, second = asyncio.run(main())
    assert first.status is status
    assert first.details == {"lag_seconds": pytest.approx(late)}
    assert first.message == ("" if status is HEALTHY else f"the event loop ran {late:.3f} s late")
    assert second.status is HEALTHY
