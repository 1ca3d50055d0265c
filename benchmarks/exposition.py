"""Rendering 10 k and 100 k lines of series, as text and as OpenMetrics, against `prometheus_client.generate_latest`.

The series are mixed as in our HTTP metrics: 4 counters to a histogram of 14 lines; counters and histograms alone are in
the notes. A tenth of the values changes between two scrapes. Both texts must be the same byte for byte. Cost is
processor time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import prometheus_client
from prometheus_client.openmetrics import exposition as openmetrics_exposition

from benchmarks.harness import Options, Result, low, milliseconds, process_cpu_seconds, take_turns, versions
from benchmarks.series import Mix, as_http_metrics, fill_client, fill_ours
from ordinaut_ext_observability.metrics.exposition import OPENMETRICS_END
from ordinaut_ext_observability.metrics.registry import Registry


def run(options: Options) -> list[Result]:
    small = options.pick(4, 20)
    alone = [
        f"{kind} alone, 10 k lines of text: {milliseconds(ours)} to {milliseconds(peer)}, 1/{peer / ours:.1f}"
        for kind, mix in (("counters", Mix(10_000, 0)), ("histograms", Mix(0, 10_000)))
        for ours, peer in [_Pair(mix).compare(small, openmetrics=False)]
    ]
    results = []
    for lines, size, rounds in ((10_000, "10k", small), (100_000, "100k", options.pick(2, 8))):
        pair = _Pair(as_http_metrics(lines))
        for openmetrics in (False, True):
            ours, peer = pair.compare(rounds, openmetrics=openmetrics)
            same = "the same byte for byte" if pair.same(openmetrics=openmetrics) else "DIFFERENT"
            results.append(
                Result(
                    f"exposition_{'openmetrics' if openmetrics else 'text'}_{size}",
                    milliseconds(ours),
                    milliseconds(peer),
                    ours / peer,
                    f"{versions('prometheus-client')}, generate_latest",
                    [
                        f"the texts are {same}",
                        f"the first scrape, which lays out the series, took {milliseconds(pair.first_seconds)}",
                        *(alone if size == "10k" and not openmetrics else ()),
                    ],
                )
            )
    return results


class _Pair:
    """The same series in both registries."""

    def __init__(self, mix: Mix) -> None:
        self.ours, self.peer = Registry(), prometheus_client.CollectorRegistry()
        self._change_ours, self._change_peer = fill_ours(self.ours, mix), fill_client(self.peer, mix)
        self.first_seconds = _cpu_seconds(_render_ours, self.ours, openmetrics=False)

    def compare(self, rounds: int, *, openmetrics: bool) -> tuple[float, float]:
        """Seconds for one scrape, ours and the peer's."""

        def ours() -> float:
            self._change_ours()
            return _cpu_seconds(_render_ours, self.ours, openmetrics=openmetrics)

        def peer() -> float:
            self._change_peer()
            return _cpu_seconds(_render_peer, self.peer, openmetrics=openmetrics)

        figures = take_turns({"ours": ours, "peer": peer}, rounds, warm_up=1 if rounds > 2 else 0)
        return low(figures["ours"]), low(figures["peer"])

    def same(self, *, openmetrics: bool) -> bool:
        """Whether both print the same: both were changed as often."""
        return _render_ours(self.ours, openmetrics=openmetrics) == _render_peer(self.peer, openmetrics=openmetrics)


def _cpu_seconds(render: Callable[..., bytes], registry: Any, *, openmetrics: bool) -> float:
    started = process_cpu_seconds()
    render(registry, openmetrics=openmetrics)
    return process_cpu_seconds() - started


def _render_ours(registry: Registry, *, openmetrics: bool) -> bytes:
    registry.refresh()
    pieces = list(registry.pieces(openmetrics=openmetrics))
    if openmetrics:
        pieces.append(OPENMETRICS_END)
    return "".join(pieces).encode()


def _render_peer(registry: prometheus_client.CollectorRegistry, *, openmetrics: bool) -> bytes:
    if openmetrics:
        text: bytes = openmetrics_exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text
    return prometheus_client.generate_latest(registry)
