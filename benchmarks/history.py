"""A tick of history over 5,000 series, against `prometheus_client.generate_latest` of the same; memory of an hour.

The series are mixed as in our HTTP metrics; a tenth of the values changes between two ticks. Cost is processor time.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from time import perf_counter

import prometheus_client

from benchmarks.harness import Options, Result, low, milliseconds, process_cpu_seconds, take_turns, versions
from benchmarks.series import as_http_metrics, fill_client, fill_ours
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.metrics.registry import Registry

SERIES = 5000
INTERVAL_MS = 15_000
TICKS = 3600 * 1000 // INTERVAL_MS


class Kept:
    """A registry and its history; a tick goes on where the last one ended."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.change = fill_ours(self.registry, as_http_metrics(SERIES))
        self.time_ms = 1_700_000_000_000
        self.forget()

    def forget(self) -> None:
        """Begin an empty history."""
        self.history = History(Clock(), retention_seconds=3600.0, max_series=4 * SERIES)

    def steps(self) -> Iterator[None]:
        """A tick, in the pieces between which a thread lets others go on."""
        self.time_ms += INTERVAL_MS
        yield from self.history.read(self.time_ms, self.registry.families())

    def tick(self) -> float:
        """Processor time of a tick."""
        self.change()
        started = process_cpu_seconds()
        for _ in self.steps():
            pass
        return process_cpu_seconds() - started

    def piece_seconds(self) -> list[float]:
        """The duration of each piece of a tick."""
        self.change()
        ends = [perf_counter(), *(perf_counter() for _ in self.steps())]
        return [end - start for start, end in pairwise(ends)]


def run(options: Options) -> list[Result]:
    kept, peer = Kept(), prometheus_client.CollectorRegistry()
    change_peer = fill_client(peer, as_http_metrics(SERIES))

    def generate() -> float:
        change_peer()
        started = process_cpu_seconds()
        prometheus_client.generate_latest(peer)
        return process_cpu_seconds() - started

    rounds = options.pick(4, 20)
    figures = take_turns({"tick": kept.tick, "generate": generate}, rounds, warm_up=1)
    tick, generated = low(figures["tick"]), low(figures["generate"])
    firsts = []
    first_pieces = []
    for _ in range(rounds):
        kept.forget()
        first_pieces.append(kept.piece_seconds())
        firsts.append(sum(first_pieces[-1]))
    pieces = [kept.piece_seconds() for _ in range(rounds)]
    longest, longest_first = _longest(pieces), _longest(first_pieces)
    megabytes = _megabytes(kept)
    peer_name = f"{versions('prometheus-client')}, generate_latest"
    return [
        Result(
            "history_tick",
            milliseconds(tick),
            milliseconds(generated),
            tick / generated,
            peer_name,
            [f"the first tick, which looks up the series, took {milliseconds(low(firsts))}"],
        ),
        Result(
            "history_piece",
            milliseconds(longest),
            "-",
            max(longest, longest_first) * 1000,
            "nothing",
            [f"the longest of the first tick: {milliseconds(longest_first)}"],
        ),
        Result(
            "history_memory",
            f"{megabytes:.1f} MB",
            "-",
            megabytes,
            "nothing",
            [
                f"{kept.history.series_count():,} series, {kept.history.count_samples():,} samples, by tracemalloc",
                f"the history itself says {kept.history.estimate_bytes() / 1e6:.1f} MB",
            ],
        ),
    ]


def _longest(rounds: list[list[float]]) -> float:
    """The longest of the pieces, each the least disturbed of its kind: the machine interrupts one now and then."""
    return max(low(piece) for piece in zip(*rounds, strict=True))


def _megabytes(kept: Kept) -> float:
    """Memory of an hour, as it is between two ticks."""
    gc.collect()
    tracemalloc.start()
    try:
        kept.forget()
        for _ in range(TICKS + 20):
            kept.tick()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 1e6
    finally:
        tracemalloc.stop()
