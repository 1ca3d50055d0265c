"""The checks that come with the package, and those that the configuration file asks for."""

from __future__ import annotations

import contextlib
import resource
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.health.check import BLOCKED_SECONDS
from ordinaut_ext_observability.health.lifecycle import LoopWatch
from ordinaut_ext_observability.health.model import CheckFunction, HealthStatus, Outcome
from ordinaut_ext_observability.health.services import HttpServiceCheck
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.family import Counter
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.settings.sections import HealthSection

Limits = tuple[float, float]
"""Shares of a resource in use, 0 to 1, from which on a check is degraded and unhealthy."""

NEARLY_USED: Limits = (0.9, 0.98)
"""They leave time to act: the last tenth of a disk or of memory is soon gone."""

MANY_OPEN: Limits = (0.8, 0.95)
LOSSY: Limits = (0.01, 0.1)

_DEGRADED_BELOW, _UNHEALTHY_BELOW = 0.9, 0.5
"""Shares of executions that succeeded. One in ten fails in any system; where half do, something is broken."""

_MIN_EXECUTIONS = 10
"""With fewer in the window all is well: one failure of two says nothing."""

_WINDOW_SECONDS = 300.0
_MIN_PACKETS = 100
_NOT_SCRUBBED = "ORDINAUT_OBS_SCRUB is off: secrets and personal data are shown as they are"
_CGROUP = Path("/sys/fs/cgroup")


def make_checks(
    settings: Settings, metrics: Metrics, loop_watch: LoopWatch, clock: Clock
) -> Iterator[tuple[str, CheckFunction, dict[str, Any]]]:
    """Yield each check's name, its function, and its `CheckOptions` as a dict."""
    yield from _configured_checks(settings.file.health)
    # They warn: a busy machine still serves, so none of them takes the process out of service.
    warns = {"required": False}
    yield "event_loop", partial(event_loop, loop_watch), warns
    yield "task_success", TaskSuccessCheck(metrics.task_executions, clock).run, warns
    yield "settings", partial(unused_settings, settings), warns
    if not settings.general.scrub:
        yield "scrubbing", lambda: Outcome(HealthStatus.DEGRADED, _NOT_SCRUBBED), warns
    # A busy CPU comes and goes: it takes longer to be believed.
    yield "cpu", CpuCheck().run, {**warns, "failures_to_worsen": 4}
    yield "memory", memory, warns
    yield "disk", partial(disk, settings.health.disk_paths), warns
    yield "file_descriptors", file_descriptors, warns
    yield "network", NetworkCheck().run, warns


def judge(used_ratio: float, limits: Limits, what: str, details: dict[str, Any]) -> Outcome:
    """The outcome of a resource used to this share; `what` tells it where that is too much."""
    for status, limit in zip((HealthStatus.UNHEALTHY, HealthStatus.DEGRADED), reversed(limits), strict=True):
        if used_ratio >= limit:
            return Outcome(status, f"{what}; {status.value} from {limit:.0%} on", details)
    return Outcome(HealthStatus.HEALTHY, "", details)


async def event_loop(watch: LoopWatch) -> Outcome:
    """Degraded when the loop was late of late. That it does not run at all shows as a stale result."""
    lag = watch.take_largest_lag()
    details = {"lag_seconds": round(lag, 3)}
    if lag < BLOCKED_SECONDS:
        return Outcome(HealthStatus.HEALTHY, "", details)
    return Outcome(HealthStatus.DEGRADED, f"the event loop ran {lag:.3f} s late", details)


async def unused_settings(settings: Settings) -> Outcome:
    """Degraded where settings could not be used."""
    variables = [problem.variable for problem in settings.problems]
    if not variables:
        return Outcome(HealthStatus.HEALTHY)
    which = f"{len(variables)} setting{'s' if len(variables) > 1 else ''}"
    message = f"{which} could not be used; GET /config and `doctor` name them"
    return Outcome(HealthStatus.DEGRADED, message, {"variables": variables})


@dataclass(slots=True)
class TaskSuccessCheck:
    """Reads `orchestrator_task_executions_total`; cancelled executions count neither way."""

    executions: Counter
    clock: Clock
    # The time, and how many had succeeded and failed by then.
    _readings: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=1000))

    async def run(self) -> Outcome:
        counts = [(child.label_values[0], child.value) for child in self.executions.children()]
        now = (
            self.clock.monotonic(),
            sum(count for status, count in counts if status == "success"),
            sum(count for status, count in counts if status not in {"success", "cancelled"}),
        )
        while len(self._readings) > 1 and self._readings[1][0] <= now[0] - _WINDOW_SECONDS:
            self._readings.popleft()
        self._readings.append(now)
        seconds, succeeded, failed = (after - before for after, before in zip(now, self._readings[0], strict=True))
        details = {"succeeded": int(succeeded), "failed": int(failed), "seconds": round(seconds)}
        executions = succeeded + failed
        if executions < _MIN_EXECUTIONS or succeeded / executions >= _DEGRADED_BELOW:
            return Outcome(HealthStatus.HEALTHY, "", details)
        status = HealthStatus.UNHEALTHY if succeeded / executions < _UNHEALTHY_BELOW else HealthStatus.DEGRADED
        return Outcome(status, f"{failed:.0f} of {executions:.0f} executions failed", details)


class CpuCheck:
    """The machine's CPUs, since the run before."""

    _before: tuple[float, float] | None = None

    def run(self) -> Outcome:
        now, cpus = _cpu_seconds(), _psutil().cpu_count() or 1
        self._before = self._before or now
        total, idle = (after - before for after, before in zip(now, self._before, strict=True))
        if total < cpus:  # not even a second
            return Outcome(HealthStatus.HEALTHY, "not measured for long enough yet")
        self._before = now
        used = min(1.0, max(0.0, 1.0 - idle / total))
        details = {"used_percent": round(used * 100, 1), "cpus": cpus}
        return judge(used, NEARLY_USED, f"CPU {used:.0%} used", details)


@cache
def _psutil() -> Any:
    """The library, imported by the thread that checks: not while the host starts."""
    with forks_held_off():
        import psutil
    return psutil


def _cpu_seconds() -> tuple[float, float]:
    """Seconds that the CPUs have had, and idled away, since the machine started.

    Not psutil's own percentages: they count from the same thread's reading before, which may be the host's.
    """
    times = _psutil().cpu_times()
    # Linux counts guests' time in `user` and `nice`, too.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total, times.idle + getattr(times, "iowait", 0.0)


def memory(limits: Limits = NEARLY_USED, cgroup: Path = _CGROUP) -> Outcome:
    """Memory of the container where there is a limit on it, else of the machine."""
    machine = _psutil().virtual_memory()
    used, total, scope = machine.total - machine.available, machine.total, "machine"
    container = _container_memory(cgroup)
    if container is not None and container[1] < total:
        (used, total), scope = container, "container"
    process_bytes = _psutil().Process().memory_info().rss
    details = {"scope": scope, "used_bytes": used, "total_bytes": total, "process_bytes": process_bytes}
    return judge(used / total, limits, f"memory {used / total:.0%} used", details)


def _container_memory(cgroup: Path) -> tuple[int, int] | None:
    """Bytes used and allowed in this control group, or None where there is no limit.

    Pages of files that can be given back are not counted as used. Source:
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files; version 1 has other names for the same.
    """
    for folder, limit_file, usage_file, reclaimable in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):
            limit = int((folder / limit_file).read_text())  # `max`: there is none
            used = int((folder / usage_file).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, used - int(stat.get(reclaimable, 0))), limit
    return None


def disk(paths: tuple[str, ...], limits: Limits = NEARLY_USED) -> Outcome:
    """The file systems that hold these paths."""
    percents = {path: _psutil().disk_usage(path).percent for path in paths}
    fullest = max(percents, key=percents.__getitem__)
    what = f"disk of {fullest} {percents[fullest]:.0f}% used"
    return judge(percents[fullest] / 100, limits, what, {"used_percent": percents})


def file_descriptors(limits: Limits = MANY_OPEN) -> Outcome:
    """Open file descriptors against the process's limit: without a free one no connection is accepted."""
    used, (limit, _) = _psutil().Process().num_fds(), resource.getrlimit(resource.RLIMIT_NOFILE)
    ratio = used / limit if limit > 0 else 0.0  # -1: there is none
    return judge(ratio, limits, f"file descriptors {ratio:.0%} used", {"open": used, "limit": limit})


class NetworkCheck:
    """Interfaces that are up, and the share of packets that failed or were dropped since the run before."""

    _before: tuple[int, int] | None = None

    def run(self) -> Outcome:
        up = [name for name, state in _psutil().net_if_stats().items() if state.isup and name != "lo"]
        counters = _psutil().net_io_counters()
        if counters is None or not up:
            return Outcome(HealthStatus.DEGRADED, "no network interface is up besides loopback", {"up": up})
        failed = counters.errin + counters.errout + counters.dropin + counters.dropout
        now = failed, counters.packets_recv + counters.packets_sent + failed
        # Counters begin anew when an interface goes: that is no negative number of packets.
        new_failed, new = (max(0, after - before) for after, before in zip(now, self._before or now, strict=True))
        self._before = now
        ratio = new_failed / new if new >= _MIN_PACKETS else 0.0
        what = f"{new_failed} of {new} packets failed or were dropped since the run before"
        return judge(ratio, LOSSY, what, {"up": len(up), "packets": new, "failed_packets": new_failed})


def _configured_checks(section: HealthSection) -> Iterator[tuple[str, CheckFunction, dict[str, Any]]]:
    options = {"required", "timeout_seconds", "failures_to_worsen", "passes_to_recover"}
    if section.http:
        import httpx

        # The first imports for a tenth of a second and more: here, since a run's timeout would count it.
        httpx.HTTPTransport(verify=False, trust_env=False).close()
    for service in section.http:
        yield service.name, HttpServiceCheck(service).run, service.model_dump(include=options)
    for entry in section.callables:
        yield entry.name, partial(call_imported, entry.target), entry.model_dump(include=options)


def call_imported(target: str) -> Any:
    """Call the function `package.module:function`. In a thread: imports may be slow, and may fail."""
    module, _, name = target.partition(":")
    return attrgetter(name)(import_module(module))()
