"""How late work is: a sample of what passes through `due_work`, whose rows vanish when the work is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ordinaut_ext_observability.collectors.connection import Reading
from ordinaut_ext_observability.collectors.queue import SeenLease
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_MOST_ROWS = 1000
"""The newest of a reading: a sample is enough."""

_LEASE_SECONDS = 60.0
"""For how long a worker of the host's leases work."""


class DriftCollector:
    """Observes each row it sees once when it was queued and once when it was leased."""

    def __init__(self, families: SystemMetrics) -> None:
        self.rows = 0
        self._families = families
        self.reset()

    def reset(self) -> None:
        """Begin with nothing observed."""
        self._highest: int | None = None
        self._leased: set[int] = set()

    async def read(self, reading: Reading, leases: Iterable[SeenLease]) -> None:
        """Observe what is new."""
        if self._highest is None:
            highest = await reading.value("queued_newest")
            self._highest, self._leased = highest, {seen.lease.item for seen in leases}
            return
        queued = await reading.rows("queued", self._highest, _MOST_ROWS)
        held = {seen.lease.item: seen for seen in leases}
        fresh = [seen for item, seen in held.items() if item not in self._leased and seen.live][:_MOST_ROWS]
        kinds = {
            str(row["id"]): row["kind"]
            for row in (await reading.rows("tasks_known", [seen.lease.task for seen in fresh]) if fresh else [])
        }
        self.rows = len(queued) + len(kinds)
        for row in queued:
            if row["late"] is not None:
                self._families.drift.labels(row["kind"], "queued").observe(max(0.0, row["late"]))
        self._families.count_odd_rows("drift", sum(row["late"] is None for row in queued))
        for seen in fresh:
            began = min(seen.lease.locked_until - _LEASE_SECONDS, reading.now)  # however long it was leased for
            kind = kinds.get(seen.lease.task, "")
            self._families.drift.labels(kind, "leased").observe(max(0.0, began - seen.run_at))
        self._highest = max([self._highest, *(row["id"] for row in queued)])
        self._leased = set(held)

    def dump(self) -> dict[str, Any]:
        """What `load` takes."""
        return {"highest": self._highest, "leased": sorted(self._leased)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another process stopped."""
        self._highest, self._leased = state["highest"], set(state["leased"])
