"""Checks of what the process runs on, on this machine and on control groups made of files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil
import pytest

from ordinaut_ext_observability.health.checks import (
    NEARLY_USED,
    CpuCheck,
    NetworkCheck,
    disk,
    event_loop,
    file_descriptors,
    judge,
    memory,
)
from ordinaut_ext_observability.health.model import HealthStatus, Outcome

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY
ROOMY = (1.1, 1.2)
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
def test_limits(ratio: float, status: HealthStatus, message: str) -> None:
    assert judge(ratio, NEARLY_USED, f"disk {ratio:.0%} used", {"a": 1}) == Outcome(status, message, {"a": 1})


# -- CPU ---------------------------------------------------------------------------------------------------------------


class CpuTimes(NamedTuple):
    """Seconds of all CPUs together; a guest's are in `user`, too."""

    user: float = 5000.0
    guest: float = 900.0
    idle: float = 9000.0
    iowait: float = 100.0


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Has two CPUs work and idle for so many seconds, half of each for a guest and for a disk."""
    times = CpuTimes()
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)

    def go_on(worked: float, idle: float) -> None:
        nonlocal times
        times = CpuTimes(times.user + worked, times.guest + worked / 2, times.idle + idle / 2, times.iowait + idle / 2)

    return go_on


def test_cpu_is_not_judged_before_a_second_has_passed(pass_time: Any) -> None:
    check = CpuCheck()
    for worked in (0.0, 1.8):
        pass_time(worked, 0.0)
        assert check.run() == Outcome(HEALTHY, "not measured for long enough yet")
    pass_time(0.4, 0.0)
    assert check.run().status is UNHEALTHY
    assert check.run().message == "not measured for long enough yet"


@pytest.mark.parametrize(("worked", "status"), [(0.0, HEALTHY), (2.0, HEALTHY), (19.0, DEGRADED), (20.0, UNHEALTHY)])
def test_cpu_is_measured_since_the_run_before_in_whatever_thread(
    pass_time: Any, worked: float, status: HealthStatus
) -> None:
    check = CpuCheck()
    pass_time(20.0, 0.0)
    asyncio.run(asyncio.to_thread(check.run))
    pass_time(worked, 20.0 - worked)
    outcome = asyncio.run(asyncio.to_thread(check.run))
    assert (outcome.status, outcome.details) == (status, {"used_percent": worked * 5, "cpus": 2})


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
    outcome = disk(("/", "/proc"), (0.0, 2.0))
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
    assert file_descriptors((0.0, 2.0)).status is DEGRADED


class Counters:
    """The machine's network, as a test has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up = {"eth0": True, "lo": True}
        self.packets = [0, 0]
        self.failed = [0, 0, 0, 0]
        monkeypatch.setattr(psutil, "net_if_stats", self._stats)
        monkeypatch.setattr(psutil, "net_io_counters", self._counters)

    def _stats(self) -> dict[str, Any]:
        return {name: SimpleNamespace(isup=up) for name, up in self.up.items()}

    def _counters(self) -> Any:
        names = ("packets_recv", "packets_sent", "errin", "errout", "dropin", "dropout")
        return SimpleNamespace(**dict(zip(names, self.packets + self.failed, strict=True)))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Counters:
    return Counters(monkeypatch)


def test_network_of_this_machine() -> None:
    outcome = NetworkCheck().run()
    assert outcome.status in {HEALTHY, DEGRADED}
    assert "up" in outcome.details


def test_no_interface_but_loopback_is_degraded(network: Counters) -> None:
    network.up = {"eth0": False, "lo": True}
    outcome = NetworkCheck().run()
    assert (outcome.status, outcome.details) == (DEGRADED, {"up": []})


@pytest.mark.parametrize(
    ("sent", "failed", "status"),
    [(1000, 0, HEALTHY), (985, 15, DEGRADED), (850, 150, UNHEALTHY), (10, 80, HEALTHY)],
)
def test_failed_packets_since_the_run_before(network: Counters, sent: int, failed: int, status: HealthStatus) -> None:
    check = NetworkCheck()
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
    check = NetworkCheck()
    network.packets, network.failed = [10**6, 0], [10**5, 0, 0, 0]
    check.run()
    network.packets, network.failed = [5, 0], [0, 0, 0, 0]
    assert check.run() == Outcome(HEALTHY, "", {"up": 1, "packets": 0, "failed_packets": 0})


# -- The event loop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "status"), [(0.0, HEALTHY), (0.9, HEALTHY), (1.5, DEGRADED), (60.0, DEGRADED)])
def test_event_loop_that_was_late_is_degraded(late: float, status: HealthStatus) -> None:
    watch: Any = SimpleNamespace(take_largest_lag=lambda: late)
    message = "" if status is HEALTHY else f"the event loop ran {late:.3f} s late"
    assert asyncio.run(event_loop(watch)) == Outcome(status, message, {"lag_seconds": late})
