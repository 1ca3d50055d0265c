"""An installation of 1,000 workers and 50 API replicas, whose processes publish from this one: the figures of docs/scaling.md.

Run it by its path: `python -m pytest -s tests/long/test_scaling.py`. It takes three minutes and prints its figures.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.exchange import Exchange, encode_entry
from ordinaut_ext_observability.relay.redis_store import RedisRelayStore
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore
from ordinaut_ext_observability.relay.store import RelayStore
from tests.clock import ManualClock

WORKERS, REPLICAS, TASKS, ROUTES = 1_000, 50, 200, 60
TICK_SECONDS, TICKS = 15, 240
_MEASURED = 50
"""Processes of which memory is measured: tracing makes the others slow."""

PER_WORKER = 4
"""Series of a worker: heartbeats, leases, the lease's length, its state."""
PER_TASK = 2 * (2 + 2 * 15) + 15 + 3 + 15
"""Metrics of a task with two outcomes and one step: runs and their times as workers report them and as rows have them, times of
executions, executions by what became of them, times of the step."""
PER_ROUTE = 14 + 2 + 2
"""Metrics of a route that answers with two statuses: times, bytes of both ways, requests."""


class Publishers:
    """The processes of the installation, with one connection to the store."""

    def __init__(self, open_store: Callable[[], RelayStore]) -> None:
        self.store = open_store()
        self.budgets = LabelBudgets(default=2_000, max_series=100_000)
        self.exchanges: list[Exchange] = []

    def add(self) -> Metrics:
        metrics = Metrics(Registry(self.budgets))
        self.exchanges.append(Exchange(lambda: self.store, [metrics.registry], metrics))
        return metrics


def work(metrics: Metrics, worker: int) -> None:
    """What a worker counts in a while: every one has had some of the tasks."""
    name = f"worker-{worker:04}"
    metrics.worker_heartbeats.labels(name).inc()
    metrics.leases.labels(name).inc()
    metrics.lease_seconds.labels(name).set(60)
    metrics.worker_states.labels(name, "busy").set(1)
    for number in range(10):
        task = f"task-{(worker + 20 * number) % TASKS:04}"
        for status, success in (("success", "true"), ("failed", "false")):
            metrics.runs.labels(status, task, "agent").inc()
            metrics.task_seconds.labels(task, "agent", success).observe(0.2)
            metrics.pipeline_executions.labels(task, status).inc()
        metrics.pipeline_seconds.labels(task, "steps").observe(0.2)
        metrics.step_seconds.labels("tool", "call", task).observe(0.1)
        metrics.pipeline_executions.labels(task, "started").inc()


def read_rows(registry: Registry) -> None:
    """Metrics that the process that reads the database counts in a while."""
    for number in range(TASKS):
        for status, success in (("success", "true"), ("failed", "false")):
            registry.bind(SystemMetrics.runs).labels(status, f"task-{number:04}", "agent").inc()
            registry.bind(SystemMetrics.run_seconds).labels(f"task-{number:04}", "agent", success).observe(0.2)


def serve(metrics: Metrics) -> None:
    """What a replica counts in a while."""
    for number in range(ROUTES):
        route = f"/things/{number}/{{id}}"
        for status in ("200", "404"):
            metrics.http_requests.labels("GET", route, status).inc()
        metrics.http_request_seconds.labels("GET", route).observe(0.02)
        metrics.http_request_bytes.labels("GET", route).inc(100)
        metrics.http_response_bytes.labels("GET", route).inc(1000)


@pytest.fixture(params=["redis", "file"])
def publishers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Publishers]:
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        made = Publishers(lambda: RedisRelayStore(url, "scaling"))
    else:
        made = Publishers(lambda: SqliteRelayStore(str(tmp_path / "store.sqlite"), Clock()))
    yield made
    made.store.close()


def timed(name: str, call: Callable[[], Any]) -> Any:
    began, cpu = time.perf_counter(), time.process_time()
    result = call()
    print(
        f"{name}: {time.perf_counter() - began:.3f} s, of which processor time here {time.process_time() - cpu:.3f} s"
    )
    return result


def test_a_large_installation_has_the_series_that_are_calculated(publishers: Publishers) -> None:
    tracemalloc.start()
    workers = [publishers.add() for _ in range(_MEASURED)]
    families_kb = tracemalloc.get_traced_memory()[0] / _MEASURED / 1000
    tracemalloc.stop()
    workers += [publishers.add() for _ in range(WORKERS - _MEASURED)]
    replicas = [publishers.add() for _ in range(REPLICAS)]
    print(f"\n{publishers.store.name}; what a process has of its own, before it counts: {families_kb:.0f} kB")
    idle = count_series(replicas[0])

    def count() -> None:
        for number, metrics in enumerate(workers):
            work(metrics, number)
        for metrics in replicas:
            serve(metrics)
        read_rows(replicas[-1].registry)

    def publish() -> None:
        for exchange in publishers.exchanges:
            exchange.publish(serves=False, interval_seconds=3_600)

    count()
    timed(f"first publication of {WORKERS + REPLICAS} processes, one after the other", publish)
    count()
    timed("a publication in which each counted something", publish)
    timed("a publication in which nobody counted anything", publish)
    reader = publishers.exchanges[-1]
    timed("first reading of the total by a replica", reader.publish_and_read)
    timed("a reading", reader.publish_and_read)
    merged = reader.merged.registry
    timed("gauges of all processes", merged.refresh)
    text = timed("text of a scrape", lambda: "".join(merged.pieces(openmetrics=False)))
    entry = encode_entry(workers[0].registry.families(), serves=False, interval_seconds=2.0)
    print(f"text of a scrape: {len(text) / 1e6:.1f} MB; entry of a worker: {len(entry)} bytes")
    series, held_bytes = keep_an_hour(merged)
    calculated = idle + WORKERS * PER_WORKER + TASKS * PER_TASK + ROUTES * PER_ROUTE
    print(f"series: {series}, calculated {calculated}, of them {idle} of an idle process")
    print(f"memory of an hour: {held_bytes / 1e6:.1f} MB, calculated {series * (700 + 8 * TICKS) / 1e6:.1f} MB")
    assert series == calculated
    assert held_bytes < series * (700 + 8 * TICKS)
    assert reader.process_count == WORKERS + REPLICAS
    assert 'orchestrator_worker_heartbeat_total{worker_id="worker-0999"} 2' in text
    requests = (
        f'orchestrator_http_requests_total{{endpoint="/things/7/{{id}}",method="GET",status_code="404"}} {2 * REPLICAS}'
    )
    assert requests in text


def keep_an_hour(registry: Registry) -> tuple[int, int]:
    """The series of an hour of history, and the bytes that it takes."""
    clock = ManualClock()
    tracemalloc.start()
    history = History(clock, retention_seconds=3600, max_series=200_000)

    def tick() -> None:
        for _ in history.read(history.begin_tick(), registry.families()):
            pass
        clock.advance(TICK_SECONDS)

    timed("first sample of history (traced)", tick)
    timed("a sample of history (traced)", tick)
    for _ in range(TICKS - 2):
        tick()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return history.series_count(), held


def count_series(metrics: Metrics) -> int:
    """The series of a process as Prometheus counts them: each bucket of a histogram is one."""
    return sum(len(family) * (len(family.bounds) + 3 if family.bounds else 1) for family in metrics.registry.families())
