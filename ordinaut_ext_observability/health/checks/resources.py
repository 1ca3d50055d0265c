"""Checks of what the process runs on: CPU, memory, disk, file descriptors, network.

They warn: a busy machine still serves, so none of them alone takes the process out of service.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.model import HealthStatus, Outcome

_CGROUP = Path("/sys/fs/cgroup")
_MIN_PACKETS = 100
_MIN_CPU_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """From which share of a resource in use, 0 to 1, a check is no longer healthy."""

    degraded: float
    unhealthy: float

    def judge(self, used_ratio: float, what: str, details: dict[str, Any]) -> Outcome:
        """The outcome of a resource used to this share."""
        if used_ratio < self.degraded:
            return Outcome(HealthStatus.HEALTHY, "", details)
        status = HealthStatus.UNHEALTHY if used_ratio >= self.unhealthy else HealthStatus.DEGRADED
        limit = self.unhealthy if status is HealthStatus.UNHEALTHY else self.degraded
        return Outcome(status, f"{what} {used_ratio:.0%} used; {status.value} from {limit:.0%} on", details)


class CpuCheck:
    """The machine's CPUs, since the run before."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._process = psutil.Process()
        self._before = self._read()

    def run(self) -> Outcome:
        now, before = self._read(), self._before
        seconds, total = now.at - before.at, now.total - before.total
        if seconds < _MIN_CPU_SECONDS or total <= 0.0:
            return Outcome(HealthStatus.HEALTHY, "not measured for long enough yet")
        self._before = now
        used = min(1.0, max(0.0, 1.0 - (now.idle - before.idle) / total))
        details = {
            "used_percent": round(used * 100, 1),
            "process_percent": round((now.process - before.process) / seconds * 100, 1),
            "cpus": psutil.cpu_count(),
        }
        return self._limits.judge(used, "CPU", details)

    def _read(self) -> _CpuTimes:
        """Not psutil's own percentages: they count from the same thread's reading before, and each run has its own."""
        machine = psutil.cpu_times()
        # Linux counts guests' time in `user` and `nice`, too.
        total = sum(machine) - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
        process = self._process.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        return _CpuTimes(self._clock.monotonic(), total, idle, process.user + process.system)


class _CpuTimes(NamedTuple):
    """Seconds since the machine, or the process, started."""

    at: float
    total: float
    idle: float
    process: float


class MemoryCheck:
    """Memory of the container where there is a limit on it, else of the machine."""

    def __init__(self, limits: Limits, cgroup: Path = _CGROUP) -> None:
        self._limits = limits
        self._cgroup = cgroup
        self._process = psutil.Process()

    def run(self) -> Outcome:
        machine = psutil.virtual_memory()
        used, total, scope = machine.total - machine.available, machine.total, "machine"
        container = _container_memory(self._cgroup)
        if container is not None and container[1] < total:
            (used, total), scope = container, "container"
        details = {
            "scope": scope,
            "used_bytes": used,
            "total_bytes": total,
            "process_bytes": self._process.memory_info().rss,
        }
        return self._limits.judge(used / total, "memory", details)


class DiskCheck:
    """The file systems that hold the given paths."""

    def __init__(self, limits: Limits, paths: tuple[str, ...]) -> None:
        self._limits = limits
        self._paths = paths

    def run(self) -> Outcome:
        used = {path: psutil.disk_usage(path).percent / 100 for path in self._paths}
        fullest = max(used, key=lambda path: used[path])
        details = {"used_percent": {path: round(ratio * 100, 1) for path, ratio in used.items()}}
        return self._limits.judge(used[fullest], f"disk of {fullest}", details)


class FileDescriptorCheck:
    """Open file descriptors against the process's limit: without a free one no connection is accepted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process = psutil.Process()

    def run(self) -> Outcome:
        if not hasattr(self._process, "num_fds"):
            return Outcome(HealthStatus.HEALTHY, "not counted on this system")
        used = self._process.num_fds()
        limit, _ = self._process.rlimit(psutil.RLIMIT_NOFILE) if hasattr(psutil, "RLIMIT_NOFILE") else (-1, -1)
        details = {"open": used, "limit": limit}
        if limit <= 0:  # unlimited
            return Outcome(HealthStatus.HEALTHY, "", details)
        return self._limits.judge(used / limit, "file descriptors", details)


class NetworkCheck:
    """Interfaces that are up, and the share of packets that failed or were dropped since the run before."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._before: tuple[int, int] | None = None

    def run(self) -> Outcome:
        up = [name for name, state in psutil.net_if_stats().items() if state.isup and name != "lo"]
        counters = psutil.net_io_counters()
        if counters is None or not up:
            return Outcome(HealthStatus.DEGRADED, "no network interface is up besides loopback", {"up": up})
        failed = counters.errin + counters.errout + counters.dropin + counters.dropout
        packets = counters.packets_recv + counters.packets_sent + failed
        failed_before, packets_before = self._before or (failed, packets)
        self._before = (failed, packets)
        # Counters begin anew when an interface goes: that is no negative number of packets.
        new_failed, new_packets = max(0, failed - failed_before), max(0, packets - packets_before)
        details = {"up": len(up), "packets": new_packets, "failed_packets": new_failed}
        if new_packets < _MIN_PACKETS:
            return Outcome(HealthStatus.HEALTHY, "", details)
        outcome = self._limits.judge(new_failed / new_packets, "", details)
        if outcome.status is HealthStatus.HEALTHY:
            return outcome
        message = f"{new_failed} of {new_packets} packets failed or were dropped since the run before"
        return Outcome(outcome.status, message, details)


def _container_memory(cgroup: Path) -> tuple[int, int] | None:
    """Bytes used and allowed in this control group, or None where there is no limit.

    Pages of files that can be given back are not counted as used. Source:
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files; version 1 has other names for the same.
    """
    for limit_file, usage_file, stat_file, reclaimable in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        try:
            limit = (cgroup / limit_file).read_text().strip()
            if limit == "max":
                return None
            used = int((cgroup / usage_file).read_text())
            stat = dict(line.split() for line in (cgroup / stat_file).read_text().splitlines())
            return max(0, used - int(stat.get(reclaimable, 0))), int(limit)
        except (OSError, ValueError):
            continue
    return None
