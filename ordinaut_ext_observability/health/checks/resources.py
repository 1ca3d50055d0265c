"""Checks of what the process runs on: CPU, memory, disk, file descriptors, network.

They warn: a busy machine still serves, so none of them alone takes the process out of service.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.model import CheckFunction, HealthStatus, Outcome
from ordinaut_ext_observability.health.setup import CheckParts

_CGROUP = Path("/sys/fs/cgroup")
_MIN_PACKETS = 100
_MIN_CPU_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Shares of a resource in use, 0 to 1, from which on a check is degraded or unhealthy."""

    degraded: float
    unhealthy: float

    def judge(self, used_ratio: float, what: str, details: dict[str, Any]) -> Outcome:
        """The outcome of a resource used to this share."""
        if used_ratio < self.degraded:
            return Outcome(HealthStatus.HEALTHY, "", details)
        unhealthy = used_ratio >= self.unhealthy
        status = HealthStatus.UNHEALTHY if unhealthy else HealthStatus.DEGRADED
        limit = self.unhealthy if unhealthy else self.degraded
        return Outcome(status, f"{what} {used_ratio:.0%} used; {status.value} from {limit:.0%} on", details)


NEARLY_USED = Thresholds(degraded=0.9, unhealthy=0.98)
"""They leave time to act: the last tenth of a disk or of memory is soon gone."""

MANY_OPEN = Thresholds(degraded=0.8, unhealthy=0.95)
LOSSY = Thresholds(degraded=0.01, unhealthy=0.1)


def make_checks(parts: CheckParts) -> Iterator[tuple[str, CheckFunction, dict[str, Any]]]:
    """A check for each resource."""
    # A busy CPU comes and goes: it takes longer to be believed.
    yield "cpu", CpuCheck(NEARLY_USED, parts.clock).run, {"required": False, "failures_to_worsen": 4}
    yield "memory", memory, {"required": False}
    yield "disk", partial(disk, parts.settings.health.disk_paths), {"required": False}
    yield "file_descriptors", file_descriptors, {"required": False}
    yield "network", NetworkCheck().run, {"required": False}


class CpuCheck:
    """The machine's CPUs, since the run before."""

    def __init__(self, thresholds: Thresholds, clock: Clock) -> None:
        self._thresholds = thresholds
        self._clock = clock
        self._process = psutil.Process()
        self._process.cpu_percent()  # counts from here on
        self._before = self._read()

    def run(self) -> Outcome:
        now = self._read()
        seconds, total, idle = (after - before for after, before in zip(now, self._before, strict=True))
        if seconds < _MIN_CPU_SECONDS or total <= 0.0:
            return Outcome(HealthStatus.HEALTHY, "not measured for long enough yet")
        self._before = now
        used = min(1.0, max(0.0, 1.0 - idle / total))
        details = {
            "used_percent": round(used * 100, 1),
            "process_percent": self._process.cpu_percent(),
            "cpus": psutil.cpu_count(),
        }
        return self._thresholds.judge(used, "CPU", details)

    def _read(self) -> tuple[float, float, float]:
        """The time, and the seconds that the CPUs have had and idled away since the machine started.

        Not psutil's own percentages: they count from the same thread's reading before, which may be the host's.
        """
        machine = psutil.cpu_times()
        # Linux counts guests' time in `user` and `nice`, too.
        total = sum(machine) - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
        return self._clock.monotonic(), total, machine.idle + getattr(machine, "iowait", 0.0)


def memory(thresholds: Thresholds = NEARLY_USED, cgroup: Path = _CGROUP) -> Outcome:
    """Memory of the container where there is a limit on it, else of the machine."""
    machine = psutil.virtual_memory()
    used, total, scope = machine.total - machine.available, machine.total, "machine"
    container = _container_memory(cgroup)
    if container is not None and container[1] < total:
        (used, total), scope = container, "container"
    process_bytes = psutil.Process().memory_info().rss
    details = {"scope": scope, "used_bytes": used, "total_bytes": total, "process_bytes": process_bytes}
    return thresholds.judge(used / total, "memory", details)


def disk(paths: tuple[str, ...], thresholds: Thresholds = NEARLY_USED) -> Outcome:
    """The file systems that hold these paths."""
    used = {path: psutil.disk_usage(path).percent / 100 for path in paths}
    fullest = max(used, key=lambda path: used[path])
    details = {"used_percent": {path: round(ratio * 100, 1) for path, ratio in used.items()}}
    return thresholds.judge(used[fullest], f"disk of {fullest}", details)


def file_descriptors(thresholds: Thresholds = MANY_OPEN) -> Outcome:
    """Open file descriptors against the process's limit: without a free one no connection is accepted."""
    used, (limit, _) = psutil.Process().num_fds(), resource.getrlimit(resource.RLIMIT_NOFILE)
    ratio = used / limit if limit > 0 else 0.0  # -1: there is none
    return thresholds.judge(ratio, "file descriptors", {"open": used, "limit": limit})


class NetworkCheck:
    """Interfaces that are up, and the share of packets that failed or were dropped since the run before."""

    def __init__(self, thresholds: Thresholds = LOSSY) -> None:
        self._thresholds = thresholds
        self._before: tuple[int, int] | None = None

    def run(self) -> Outcome:
        up = [name for name, state in psutil.net_if_stats().items() if state.isup and name != "lo"]
        counters = psutil.net_io_counters()
        if counters is None or not up:
            return Outcome(HealthStatus.DEGRADED, "no network interface is up besides loopback", {"up": up})
        failed = counters.errin + counters.errout + counters.dropin + counters.dropout
        now = failed, counters.packets_recv + counters.packets_sent + failed
        # Counters begin anew when an interface goes: that is no negative number of packets.
        new_failed, new = (max(0, after - before) for after, before in zip(now, self._before or now, strict=True))
        self._before = now
        ratio = new_failed / new if new >= _MIN_PACKETS else 0.0
        details = {"up": len(up), "packets": new, "failed_packets": new_failed}
        outcome = self._thresholds.judge(ratio, "", details)
        if outcome.status is HealthStatus.HEALTHY:
            return outcome
        return replace(outcome, message=f"{new_failed} of {new} packets failed or were dropped since the run before")


def _container_memory(cgroup: Path) -> tuple[int, int] | None:
    """Bytes used and allowed in this control group, or None where there is no limit.

    Pages of files that can be given back are not counted as used. Source:
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files; version 1 has other names for the same.
    """
    for folder, limit_file, usage_file, reclaimable in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = (folder / limit_file).read_text().strip()
            if limit == "max":
                return None
            used = int((folder / usage_file).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, used - int(stat.get(reclaimable, 0))), int(limit)
        except (OSError, ValueError):
            continue
    return None
