"""How late work is: a sample of what passes through `due_work`, whose rows vanish when the work is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ordinaut_ext_observability.collectors.connection import ReadTransaction
from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

_MOST_ROWS = 1000
"""The newest of a reading: a sample is enough."""

_LEASE_SECONDS = 60.0
"""For how long a worker of the host's leases work."""


@dataclass
class DriftCollector:
    """Observes each row it sees once when it was queued and once when it was leased. Its fields are its state."""

    highest: int | None = None
    """The highest id seen; None before the first reading."""
    leased: set[int] = field(default_factory=set)

    async def read(self, transaction: ReadTransaction, families: SystemMetrics, leases: Iterable[Lease]) -> None:
        """Observe what is new."""
        held = {lease.item: lease for lease in leases}
        if self.highest is None:
            self.highest, self.leased = await transaction.value("queued_newest"), set(held)
            return
        queued = await transaction.rows("queued", self.highest, _MOST_ROWS)
        fresh = [
            lease for item, lease in held.items() if item not in self.leased and lease.locked_until >= transaction.now
        ][:_MOST_ROWS]
        tasks = await transaction.rows("tasks_known", [lease.task for lease in fresh]) if fresh else []
        kinds = {str(row["id"]): row["kind"] for row in tasks}
        families.collector_rows.labels("drift").set(len(queued) + len(kinds))
        for row in queued:
            if row["late"] is not None:
                families.drift.labels(row["kind"], "queued").observe(max(0.0, row["late"]))
        families.count_odd_rows("drift", sum(row["late"] is None for row in queued))
        for lease in fresh:
            began = min(lease.locked_until - _LEASE_SECONDS, transaction.now)  # however long it was leased for
            families.drift.labels(kinds.get(lease.task, ""), "leased").observe(max(0.0, began - lease.run_at))
        self.highest = max([self.highest, *(row["id"] for row in queued)])
        self.leased = set(held)
