"""The health monitor of Ordinaut's full host, answering from ours."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ordinaut_ext_observability import __getattr__ as __getattr__  # noqa: PLC0414 - HealthMonitor, once it is asked for
from ordinaut_ext_observability.background.clock import monotonic_seconds, wall_seconds
from ordinaut_ext_observability.compat.guard import never_raises, runtime
from ordinaut_ext_observability.health.model import HealthCheck, HealthReport, HealthStatus

if TYPE_CHECKING:
    from ordinaut_ext_observability.health.monitor import HealthMonitor

__all__ = ["HealthCheck", "HealthStatus", "SystemHealthMonitor", "SystemHealthReport"]

_SETTLE_SECONDS, _OLD_SECONDS = 1.0, 5.0
"""The longest wait for first results; the age from which on checks are run anew where nobody runs them in turn."""


class SystemHealthReport(NamedTuple):
    """All checks as they stand, in the host's shape."""

    report: HealthReport
    request_id: str | None
    uptime_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The body of the host's /health, which anyone may read: no texts of checks are in it."""
        checks: list[dict[str, Any]] = [
            {
                "name": check.name,
                "status": check.status.value,
                "message": "no recent result" if check.stale or check.last is None else check.status.value,
                "duration_ms": check.last.duration_ms if check.last is not None else None,
                "timestamp": _instant(check.last.checked_at) if check.last is not None else None,
                "details": None,
                "error": None,
            }
            for check in self.report.checks
        ]
        statuses = Counter(check["status"] for check in checks)
        return {
            "status": self.report.status.value,
            "timestamp": _instant(datetime.fromtimestamp(wall_seconds(), UTC)),
            "request_id": self.request_id,
            "summary": {
                "overall_status": self.report.status.value,
                "total_checks": len(checks),
                **{f"{status.value}_checks": statuses[status.value] for status in HealthStatus},
                "total_duration_ms": round(sum(check["duration_ms"] or 0.0 for check in checks), 3),
                "uptime_seconds": round(self.uptime_seconds, 3),
            },
            "checks": checks,
        }


class SystemHealthMonitor:
    """The monitor that `api/main.py` makes at import and asks for /health, /health/ready and /health/live."""

    def __init__(self) -> None:
        """Nothing is connected to; from here on the process's monitor asks the host's database and Redis, too."""
        self._started = monotonic_seconds()
        self._monitor: HealthMonitor | None = None
        never_raises(self._get_monitor)()

    @property
    def start_time(self) -> float:
        """Seconds since the start: the host publishes this under the name `uptime_seconds`."""
        return round(monotonic_seconds() - self._started, 3)

    async def get_system_health(self, request_id: str | None = None) -> SystemHealthReport:
        """Every check as it stands."""
        return SystemHealthReport(await self._report(), request_id, self.start_time)

    async def get_quick_health(self) -> dict[str, bool]:
        """Say which of the parts work that the host asks about; `database` decides whether it is ready.

        What is not known yet does not work yet.
        """
        works = {"database": True, "redis": True}
        in_turn = self._get_monitor().loop is not None
        for check in (await self._report()).checks:
            # Where nobody runs the checks in turn, each result counts at once.
            result = check if in_turn or check.last is None or not check.last.known else check.last
            works[check.name] = check.known and result.status is not HealthStatus.UNHEALTHY
        return {"api": True, "database": works["database"], "redis": works["redis"]}

    async def _report(self) -> HealthReport:
        monitor = self._get_monitor()
        if monitor.loop is not None:
            await monitor.settle(_SETTLE_SECONDS)
        elif any((check.age_seconds or _OLD_SECONDS) >= _OLD_SECONDS for check in monitor.report().checks):
            await monitor.run_all_checks()  # the extension that would run them is not there
        return monitor.report()

    def _get_monitor(self) -> HealthMonitor:
        """The process's monitor, which also asks the host's own checks, where the host has them.

        Where PostgreSQL and Redis are read anyway, what is read there takes their place.
        """
        if self._monitor is None:
            runtime().collectors.database_required = True
            self._monitor = runtime().health_monitor
            self._monitor.register_check("database", lambda: _ask_host("check_database_health"), required=True)
            self._monitor.register_check("redis", lambda: _ask_host("check_redis_health"), required=False)
        return self._monitor


def _ask_host(name: str) -> Any:
    """The answer of one of the host's functions: they are coroutine functions that block. Runs in a thread of ours."""
    import asyncio

    host = sys.modules.get("api.dependencies")
    if not hasattr(host, name) or (name == "check_redis_health" and getattr(host, "redis_client", None) is None):
        return {"configured": False}
    return asyncio.run(getattr(host, name)())


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
