"""Maintenance by a program, with the calls and the Redis key of Ordinaut's operating instructions."""

from __future__ import annotations

import inspect
import logging
from typing import Any

from ordinaut_ext_observability.compat.guard import runtime

_BY = "MaintenanceMode"
_logger = logging.getLogger(__name__)


class MaintenanceMode:
    """Begins and ends a maintenance that the whole installation sees, through its store.

    ::

        mode = MaintenanceMode(redis_client)  # asynchronous or not
        await mode.enable(duration_minutes=30, reason="deployment")

    The Redis key is set for whoever else looks at it: without Redis the maintenance holds all the same. Calls raise
    `ClusterUnavailableError` where the store does not answer.
    """

    def __init__(self, redis_client: Any) -> None:
        self.redis = redis_client
        self.maintenance_key = "orchestrator:maintenance"

    async def enable(self, duration_minutes: int = 60, reason: str = "") -> None:
        """Begin; for a day at most, else raises `RefusedError`."""
        import json
        from datetime import UTC, datetime

        await _on_desk(lambda desk: desk.begin("maintenance", duration_minutes * 60_000, _BY, reason))
        facts = {"enabled_at": datetime.now(UTC).isoformat(), "duration_minutes": duration_minutes, "reason": reason}
        await self._ask("set", json.dumps(facts), ex=duration_minutes * 60)

    async def disable(self) -> None:
        """End what `enable` began, in whichever process."""
        await self._ask("delete")
        await _on_desk(lambda desk: [desk.expire_silence(each.id) for each in desk.maintenances(_BY)])

    async def is_enabled(self) -> bool:
        """True while a maintenance is on, whoever began it, or the key is set."""
        return bool(await self._ask("exists")) or bool(await _on_desk(lambda desk: desk.maintenances()))

    async def _ask(self, command: str, *arguments: Any, **options: Any) -> Any:
        try:
            answer = getattr(self.redis, command)(self.maintenance_key, *arguments, **options)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as error:  # noqa: BLE001 - the maintenance does not depend on Redis
            _logger.warning("The Redis key %s was not reached: %s", self.maintenance_key, type(error).__name__)
            return None


async def _on_desk(call: Any) -> Any:
    from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread

    return await in_daemon_thread(call, runtime().alerts.desk)
