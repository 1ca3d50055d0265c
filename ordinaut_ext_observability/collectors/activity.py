"""`audit_log`: what agents do."""

from __future__ import annotations

from dataclasses import dataclass, field

import asyncpg

from ordinaut_ext_observability.collectors.connection import ReadTransaction
from ordinaut_ext_observability.collectors.windows import WINDOW_SECONDS, IdWindow
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_MOST_ROWS = 20_000
"""In one reading, to bound its memory; the rest is read the next time."""

_NEWEST = 500
"""Rows among which ids are looked for that are not committed when counting begins."""

_MOST_AGENTS = 10_000


@dataclass
class ActivityCollector:
    """Counts the rows added since the last reading. Its fields are the state that the next leader goes on from."""

    ids: IdWindow = field(default_factory=IdWindow)
    last_seen: dict[str, float] = field(default_factory=dict)
    """When each agent acted last, in seconds since 1970."""

    async def read(self, transaction: ReadTransaction, families: SystemMetrics) -> None:
        """Count what was added; the first reading counts nothing."""
        highest = self.ids.highest
        if highest is None:
            found = await transaction.rows("audit_newest", _NEWEST)
            self.ids.begin((row["id"] for row in found), transaction.now)
        else:
            missing = sorted(self.ids.missing)
            found = await transaction.rows("audit_missing", missing) if missing else []
            found += await transaction.rows("audit", highest, _MOST_ROWS)
            # From here on nothing waits: what is counted and up to where belong together.
            rows = {row["id"]: row for row in found}
            for number in self.ids.advance(rows, transaction.now):
                self._count(rows[number], families)
        families.collector_rows.labels("activity").set(len(found))
        self._show(transaction.now, families)

    def _count(self, row: asyncpg.Record, families: SystemMetrics) -> None:
        action, agent = row["action"], row["agent"] or ""
        families.audit_actions.labels(action).inc()
        if agent:
            families.agent_actions.labels(agent).inc()
            self.last_seen[agent] = max(row["at"], self.last_seen.get(agent, 0.0))
        if action == "task.created":
            families.tasks_created.labels(row["kind"] or "", agent).inc()

    def _show(self, now: float, families: SystemMetrics) -> None:
        oldest = now - max(WINDOW_SECONDS.values())
        newest = sorted(self.last_seen.items(), key=lambda item: item[1])[-_MOST_AGENTS:]
        self.last_seen = {agent: at for agent, at in newest if at >= oldest}
        for window, seconds in WINDOW_SECONDS.items():
            active = sum(at >= now - seconds for at in self.last_seen.values())
            families.active_agents.labels(window).set(active)
