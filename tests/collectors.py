"""Collectors as the tests make them."""

from __future__ import annotations

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.collectors.leadership import Checkpoints
from ordinaut_ext_observability.collectors.collector import SystemCollector
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics, SystemMetrics
from ordinaut_ext_observability.collectors.states import CollectorStates
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry


def silent(*_, **__):
    """An event log that nobody reads."""


def states_of(metrics, event=silent, clock=None):
    """The states of collectors that show in the registry of these metrics."""
    return CollectorStates(CollectorMetrics(metrics.registry), clock or Clock(), event, metrics.count_internal_error)


def make_collector(url, metrics=None, *, event=silent, clock=None, open_stores=None, extra=None, **options):
    """A collector of PostgreSQL; without `metrics`, into a registry of its own."""
    metrics = metrics or Metrics(Registry())
    families = SystemMetrics(metrics.registry)
    return SystemCollector(
        url,
        families,
        states_of(metrics, event, clock),
        checkpoints=Checkpoints(open_stores, families.cluster_counters, metrics) if open_stores else None,
        extra=extra,
        **{"interval_seconds": 15.0, **options},
    )


async def collect(collector):
    """Do a round as if it was time for the leader to read; the seconds until the next."""
    collector._due = 0.0
    return await collector.collect()
