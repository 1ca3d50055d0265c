"""`audit_log`: what agents do."""

from __future__ import annotations

from typing import Any

import asyncpg

from ordinaut_ext_observability.collectors.connection import Reading
from ordinaut_ext_observability.collectors.id_window import IdWindow
from ordinaut_ext_observability.collectors.windows import WINDOW_SECONDS
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_MOST_ROWS = 20_000
"""In one reading; the rest is read the next time."""

_NEWEST = 500
"""Rows among which ids are looked for that are not committed when counting begins."""

_MOST_AGENTS = 10_000
_TASK_CREATED = "task.created"


class ActivityCollector:
    """Reads the rows added since the last time and counts them."""

    def __init__(self, families: SystemMetrics) -> None:
        self.rows = 0
        self._families = families
        self.reset()

    def reset(self) -> None:
        """Begin with nothing counted."""
        self._ids = IdWindow()
        self._last_seen: dict[str, float] = {}

    async def read(self, reading: Reading) -> None:
        """Count what was added."""
        highest = self._ids.highest
        if highest is None:
            newest = await reading.rows("audit_newest", _NEWEST)
            self.rows = len(newest)
            self._ids.begin((row["id"] for row in newest), reading.now)
            return
        missing = self._ids.missing
        found = await reading.rows("audit_missing", missing) if missing else []
        found += await reading.rows("audit", highest, _MOST_ROWS)
        # From here on nothing waits: what is counted and up to where belong together.
        self.rows = len(found)
        rows = {row["id"]: row for row in found}
        for number in self._ids.advance(rows, reading.now):
            self._count(rows[number])

    def show(self, now: float) -> None:
        """Who was active, as numbers."""
        oldest = now - max(WINDOW_SECONDS.values())
        newest = sorted(self._last_seen.items(), key=lambda item: item[1])[-_MOST_AGENTS:]
        self._last_seen = {agent: at for agent, at in newest if at >= oldest}
        for window, seconds in WINDOW_SECONDS.items():
            active = sum(at >= now - seconds for at in self._last_seen.values())
            self._families.active_agents.labels(window).set(active)

    def dump(self) -> dict[str, Any]:
        """What `load` takes."""
        return {"ids": self._ids.dump(), "last_seen": self._last_seen}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another process stopped."""
        self._ids.load(state["ids"])
        self._last_seen = {str(agent): float(at) for agent, at in state["last_seen"].items()}

    def _count(self, row: asyncpg.Record) -> None:
        action, agent = row["action"], row["agent"] or ""
        self._families.audit_actions.labels(action).inc()
        if agent:
            self._families.agent_actions.labels(agent).inc()
            self._last_seen[agent] = max(row["at"], self._last_seen.get(agent, 0.0))
        if action == _TASK_CREATED:
            self._families.tasks_created.labels(row["kind"] or "", agent).inc()
