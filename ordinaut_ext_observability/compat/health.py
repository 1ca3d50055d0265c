"""The health monitor of Ordinaut's full host, answering from ours."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.compat.guard import never_raises
from ordinaut_ext_observability.health.model import HealthCheck, HealthReport, HealthStatus

if TYPE_CHECKING:
    from ordinaut_ext_observability.health.monitor import HealthMonitor

__all__ = ["HealthCheck", "HealthStatus", "SystemHealthMonitor", "SystemHealthReport"]

_SETTLE_SECONDS = 1.0
_OLD_SECONDS = 5.0


class SystemHealthReport:
    """All checks as they stand, in the host's shape."""

    def __init__(self, report: HealthReport, request_id: str | None, uptime_seconds: float) -> None:
        self._report = report
        self._request_id = request_id
        self._uptime_seconds = uptime_seconds

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it. Anyone may read the host's /health: no texts of checks are in it."""
        checks: list[dict[str, Any]] = [
            {
                "name": check.name,
                "status": check.status.value,
                "message": "no recent result" if check.stale or check.last is None else check.status.value,
                "duration_ms": check.last.duration_ms if check.last is not None else None,
                "timestamp": _text(check.last.checked_at) if check.last is not None else None,
                "details": None,
                "error": None,
            }
            for check in self._report.checks
        ]
        statuses = [check["status"] for check in checks]
        return {
            "status": self._report.status.value,
            "timestamp": _text(datetime.fromtimestamp(time.time(), UTC)),
            "request_id": self._request_id,
            "summary": {
                "overall_status": self._report.status.value,
                "total_checks": len(checks),
                **{f"{status}_checks": statuses.count(status) for status in ("healthy", "degraded", "unhealthy")},
                "total_duration_ms": round(sum(check["duration_ms"] or 0.0 for check in checks), 3),
                "uptime_seconds": round(self._uptime_seconds, 3),
            },
            "checks": checks,
        }


class SystemHealthMonitor:
    """What `api/main.py` makes at import and asks for /health, /health/ready and /health/live."""

    def __init__(self) -> None:
        """Nothing is connected to; from here on the process's monitor asks the host's database and Redis, too."""
        self._started = time.perf_counter()
        never_raises(register_host_checks)()

    @property
    def start_time(self) -> float:
        """Seconds since the start: the host publishes this under the name `uptime_seconds`."""
        return round(time.perf_counter() - self._started, 3)

    def get_uptime(self) -> float:
        """Seconds since the start."""
        return self.start_time

    async def get_system_health(self, request_id: str | None = None) -> SystemHealthReport:
        """Every check as it stands."""
        return SystemHealthReport(await _report(_monitor()), request_id, self.start_time)

    async def get_quick_health(self) -> dict[str, bool]:
        """Say which of the parts work that the host asks about; `database` decides whether it is ready.

        What is not known yet does not work yet.
        """
        monitor = _monitor()
        works: dict[str, bool] = {}
        for check in (await _report(monitor)).checks:
            # Where nobody runs the checks in turn, each result counts at once.
            at_once = not monitor.is_running and check.last is not None and check.last.known
            result = check.last if at_once and check.last is not None else check
            works[check.name] = check.known and result.status is not HealthStatus.UNHEALTHY
        return {"api": True, "database": works.get("database", True), "redis": works.get("redis", True)}


async def _report(monitor: HealthMonitor) -> HealthReport:
    if monitor.is_running:
        await monitor.settle(_SETTLE_SECONDS)
    elif any((check.age_seconds or _OLD_SECONDS) >= _OLD_SECONDS for check in monitor.report().checks):
        await monitor.run_all_checks()  # the extension that would run them is not there
    return monitor.report()


def _monitor() -> HealthMonitor:
    from ordinaut_ext_observability.runtime.current import current_runtime

    return current_runtime().health_monitor


def register_host_checks() -> None:
    """Have the process's monitor ask the host's own database and Redis checks, where the host has them.

    Where PostgreSQL and Redis are read anyway, what is read there takes their place.
    """
    from ordinaut_ext_observability.runtime.current import current_runtime

    current_runtime().sources.database_required = True
    monitor = _monitor()
    monitor.register_check("database", lambda: _ask_host("check_database_health"), required=True)
    monitor.register_check("redis", lambda: _ask_host("check_redis_health", "redis_client"), required=False)


def _ask_host(*names: str) -> Any:
    """Call the first of these of the host's, if it has them all. Runs in a thread of ours: it is async, but blocks."""
    host = sys.modules.get("api.dependencies")
    found: list[Any] = [getattr(host, name, None) for name in names]
    return {"configured": False} if None in found else asyncio.run(found[0]())


def _text(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def __getattr__(name: str) -> Any:
    if name == "HealthMonitor":
        from ordinaut_ext_observability.health.monitor import HealthMonitor

        return HealthMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
