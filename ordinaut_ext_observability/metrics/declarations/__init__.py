"""Every metric of the package, by the part that counts it, in the order of the reference.

To add a metric, add a line to its part. A new part adds its set to `PARTS`.
"""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declarations.database import (
    DatabaseClientMetrics,
    DatabaseServerMetrics,
    PoolMetrics,
)
from ordinaut_ext_observability.metrics.declarations.extension import ExtensionMetrics
from ordinaut_ext_observability.metrics.declarations.health import HealthMetrics
from ordinaut_ext_observability.metrics.declarations.http import HttpMetrics
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.metrics.declarations.security import SecurityMetrics
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics, QueueMetrics, TableMetrics
from ordinaut_ext_observability.metrics.declarations.work import WorkerMetrics, WorkMetrics
from ordinaut_ext_observability.metrics.declare import MetricSet

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
    SecurityMetrics,
    CollectorMetrics,
    ExtensionMetrics,
)
