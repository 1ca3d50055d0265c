"""Every metric of the package, by the part that counts it.

To add a metric, add a line to its part. A new part adds its set to `PARTS`, and to `Metrics` where every process counts
it.
"""

from __future__ import annotations

from contextlib import suppress

from ordinaut_ext_observability.metrics.declarations.alerts import AlertMetrics
from ordinaut_ext_observability.metrics.declarations.database import (
    DatabaseClientMetrics,
    DatabaseServerMetrics,
    PoolMetrics,
)
from ordinaut_ext_observability.metrics.declarations.extension import ExtensionMetrics
from ordinaut_ext_observability.metrics.declarations.health import HealthMetrics
from ordinaut_ext_observability.metrics.declarations.http import HttpMetrics
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.metrics.declarations.releases import ReleaseMetrics
from ordinaut_ext_observability.metrics.declarations.security import SecurityMetrics
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics, QueueMetrics, TableMetrics
from ordinaut_ext_observability.metrics.declarations.work import WorkerMetrics, WorkMetrics
from ordinaut_ext_observability.metrics.declare import MetricSet
from ordinaut_ext_observability.metrics.registry import Registry

PARTS: tuple[type[MetricSet], ...] = (
    HttpMetrics,
    WorkMetrics,
    QueueMetrics,
    WorkerMetrics,
    TableMetrics,
    PoolMetrics,
    DatabaseClientMetrics,
    DatabaseServerMetrics,
    RedisServerMetrics,
    HealthMetrics,
    AlertMetrics,
    SecurityMetrics,
    ReleaseMetrics,
    CollectorMetrics,
    ExtensionMetrics,
)
"""Sets in the order of the reference."""


class Metrics(
    HttpMetrics,
    WorkMetrics,
    QueueMetrics,
    WorkerMetrics,
    PoolMetrics,
    HealthMetrics,
    AlertMetrics,
    SecurityMetrics,
    ReleaseMetrics,
    ExtensionMetrics,
):
    """Everything that every process counts, with or without a database to read."""

    def __init__(self, registry: Registry) -> None:
        registry.on_overflow = lambda metric, label: self.label_overflow.labels(metric, label).inc()
        super().__init__(registry)
        self.registry = registry

    def count_internal_error(self, component: str) -> None:
        """Count a failure inside this package that was kept from the host."""
        with suppress(Exception):  # called where failures are kept from the host: this one must be, too
            self.internal_errors.labels(component).inc()
