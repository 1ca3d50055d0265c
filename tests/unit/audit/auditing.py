"""Audit trails on directories of their own, and the check of what they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ordinaut_ext_observability.audit.chain import FILES
from ordinaut_ext_observability.audit.trail import AuditTrail
from ordinaut_ext_observability.audit.chain import Verification
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.settings.parts import AuditSettings


class Audited:
    """A trail, what it logged of itself and what it counted."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.told: list[Any] = []
        self.metrics = Metrics(Registry(LabelBudgets()))
        self.settings = AuditSettings(directory=str(directory), **settings)
        self.trail = AuditTrail(self.settings, self.metrics, lambda event, **fields: self.told.append((event, fields)))

    def record(self, *names: str) -> None:
        """Keep an event for each name, in a batch of its own."""
        for name in names:
            self.trail.record("security_event", {"name": name})
            assert self.trail._writer.flush(10)

    def counted(self, outcome: str) -> float:
        return self.metrics.audit_records.labels(outcome).value

    def verify(self, key: str = "") -> Verification:
        return Verification(sorted(self.directory.glob(FILES)), key.encode())
