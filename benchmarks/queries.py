"""A rate over 5,000 series with an hour of history, against `prometheus_client.generate_latest` of the same series.

They are of 100 endpoints, and all change at each tick. Cost is processor time; that of a piece is its thread's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import prometheus_client

from benchmarks.harness import Options, Result, cpu_seconds_of, low, milliseconds, take_turns, versions
from ordinaut_ext_observability.background.clock import Clock, thread_cpu_seconds
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.family import Counter
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.promql.evaluate import Answering, evaluate
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query

SERIES = 5_000
ENDPOINTS = 100
INTERVAL_MS = 15_000
TICKS = 240
QUERY = "sum by (endpoint) (rate(bench_requests_total[5m]))"

_METRIC = ("bench_requests_total", "Requests.", ("method", "endpoint", "status_code"))
_BEGAN_MS = 1_700_000_000_000
_ENDED_MS = _BEGAN_MS + TICKS * INTERVAL_MS
_UNBOUNDED = LabelBudgets(default=10**9, max_series=10**9)


def children(counter: Any, number: int) -> list[Any]:
    """So many series."""
    return [counter.labels("GET", f"/resources/{n % ENDPOINTS}/{{id}}", str(n // ENDPOINTS)) for n in range(number)]


def hour_of(series: int) -> History:
    """An hour of the series, in which all of them grow."""
    registry = Registry()
    counters = children(registry.register(Counter(*_METRIC, budgets=_UNBOUNDED)), series)
    history = History(Clock(), retention_seconds=3600.0, max_series=2 * series)
    for tick in range(1, TICKS + 1):
        for number, child in enumerate(counters):
            child.inc(number % 7 + 1)
        for _ in history.read(_BEGAN_MS + tick * INTERVAL_MS, registry.families()):
            pass
    return history


def answering(history: History, range_ms: int = 0) -> Answering:
    """The query at the end of the hour, or over a range before it."""
    step_ms = INTERVAL_MS if range_ms else 0
    return evaluate(Query(parse(QUERY), _ENDED_MS - range_ms, _ENDED_MS, step_ms), history, Limits())


def piece_seconds(work: Iterator[None]) -> list[float]:
    """Processor time of each piece of a query."""
    ends = [thread_cpu_seconds(), *(thread_cpu_seconds() for _ in work), thread_cpu_seconds()]
    return [end - start for start, end in pairwise(ends)]


def run(options: Options) -> list[Result]:
    history, peer = hour_of(SERIES), prometheus_client.CollectorRegistry()
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call,unused-ignore]
    for child in children(prometheus_client.Counter(*_METRIC, registry=peer), SERIES):
        child.inc()
    rounds = options.pick(5, 25)
    figures = take_turns(
        {
            "query": cpu_seconds_of(lambda: list(answering(history))),
            "generate": cpu_seconds_of(lambda: prometheus_client.generate_latest(peer)),
        },
        rounds,
    )
    query, generated = low(figures["query"]), low(figures["generate"])
    pieces = [piece_seconds(answering(history)) for _ in range(rounds)]
    # Each the least disturbed of its kind: the machine interrupts one now and then.
    longest = max(low(piece) for piece in zip(*pieces, strict=True))
    return [
        Result(
            "query_rate",
            milliseconds(query),
            milliseconds(generated),
            query / generated,
            f"{versions('prometheus-client')}, generate_latest",
            [QUERY, _of_a_range()],
        ),
        Result(
            "query_piece",
            milliseconds(longest),
            "-",
            longest * 1000,
            "nothing",
            [f"{len(pieces[0])} pieces; the longest of any round: {milliseconds(max(map(max, pieces)))}"],
        ),
    ]


def _of_a_range() -> str:
    history = hour_of(SERIES // 10)
    started = time.process_time()
    steps = len(list(answering(history, range_ms=TICKS * INTERVAL_MS)))
    taken = time.process_time() - started
    return f"over {SERIES // 10} series, at 241 steps of an hour: {milliseconds(taken)}, in {steps + 1} pieces"
