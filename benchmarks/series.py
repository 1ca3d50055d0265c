"""The same series in our registry and in `prometheus_client`'s."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import prometheus_client

from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.family import Counter, Histogram
from ordinaut_ext_observability.metrics.registry import Registry

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_LINES_PER_HISTOGRAM = len(_BOUNDS) + 3
_UNBOUNDED = LabelBudgets(default=10**9, max_series=10**9)
_COUNTER = ("bench_requests_total", "Requests.", ("method", "endpoint", "status_code"))
_HISTOGRAM = ("bench_seconds", "Seconds.", ("method", "endpoint"))


@dataclass(frozen=True)
class Mix:
    """So many lines of counters, and so many of histograms."""

    counters: int
    histograms: int


def as_http_metrics(lines: int) -> Mix:
    """The mix our HTTP metrics have: 4 counters (two statuses, bytes in, bytes out) for each histogram of 14 lines."""
    return Mix(lines * 4 // 18, lines - lines * 4 // 18)


def fill_ours(registry: Registry, mix: Mix) -> Callable[[], None]:
    """Register series; the function returned changes a tenth of their values."""
    counter = registry.register(Counter(*_COUNTER, budgets=_UNBOUNDED))
    histogram = registry.register(Histogram(*_HISTOGRAM, bounds=_BOUNDS, budgets=_UNBOUNDED))
    return _fill(counter, histogram, mix)


def fill_with_statuses(registry: Registry, series: int, endpoints: int = 100) -> Callable[[], None]:
    """Register counters of a few endpoints, each with many status codes; the function returned counts on."""
    counter = registry.register(Counter(*_COUNTER, budgets=_UNBOUNDED))
    children = [
        counter.labels("GET", f"/resources/{number % endpoints}/items", str(number // endpoints))
        for number in range(series)
    ]

    def change() -> None:
        for child in children[::10]:
            child.inc()

    change()
    return change


def fill_client(registry: prometheus_client.CollectorRegistry, mix: Mix) -> Callable[[], None]:
    """The same in a registry of `prometheus_client`."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call,unused-ignore]
    counter = prometheus_client.Counter(*_COUNTER, registry=registry)
    histogram = prometheus_client.Histogram(*_HISTOGRAM, buckets=_BOUNDS, registry=registry)
    return _fill(counter, histogram, mix)


def _fill(counter: Any, histogram: Any, mix: Mix) -> Callable[[], None]:
    counters = [
        counter.labels("GET", f"/resources/{number}/items/{{item_id}}", "200") for number in range(mix.counters)
    ]
    histograms = [
        histogram.labels("GET", f"/resources/{number}/items/{{item_id}}")
        for number in range(mix.histograms // _LINES_PER_HISTOGRAM)
    ]
    for number, child in enumerate(counters):
        child.inc(number % 1000)
    for number, child in enumerate(histograms):
        for step in range(20):
            child.observe((number % 97) * step / 200)

    def change() -> None:
        for child in counters[::10]:
            child.inc()
        for child in histograms[::10]:
            child.observe(0.3)

    return change
