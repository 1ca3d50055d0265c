"""Four processes with 10 k lines of series each, merged into one text, against the peer's MultiProcessCollector.

Both begin with what each process left behind: the peer's mmap files, our published vectors. Both end with the text of a
scrape. A tenth of the values changes between two scrapes. The sums must be the same. Cost is processor time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import prometheus_client
from prometheus_client import multiprocess

from benchmarks.harness import Options, Result, low, milliseconds, process_cpu_seconds, take_turns, versions
from benchmarks.series import as_http_metrics, fill_ours
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.vector import NO_NUMBERS, About, NumberReader, Vector, counting, decode, encode
from ordinaut_ext_observability.relay.view import View

_PROCESSES = 4
_LINES = 10_000


def run(options: Options) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        _fill_in_processes(folder)
        ours = _Ours()

        def peer() -> float:
            started = process_cpu_seconds()
            _merge_peer(folder)
            return process_cpu_seconds() - started

        figures = take_turns({"ours": ours.round, "peer": peer}, options.pick(4, 20))
        same = _sum_of(ours.first_text) == _sum_of(_merge_peer(folder))
    cost, peer_cost = low(figures["ours"]), low(figures["peer"])
    return [
        Result(
            "processes_merged",
            milliseconds(cost),
            milliseconds(peer_cost),
            cost / peer_cost,
            f"{versions('prometheus-client')}, MultiProcessCollector and generate_latest",
            [
                f"the sums of all lines are {'the same' if same else 'DIFFERENT'}",
                f"the first merge, which learns the series, took {milliseconds(ours.first_seconds)}",
                f"merging took {milliseconds(low(ours.merging))} of it; a scrape only renders",
            ],
        )
    ]


class _Ours:
    """A process that shows the sums: it reads the vectors of four."""

    def __init__(self) -> None:
        self._registries = [Registry() for _ in range(_PROCESSES)]
        self._changes = [fill_ours(registry, as_http_metrics(_LINES)) for registry in self._registries]
        self._readers = [NumberReader(lambda r=registry: counting(r.families())) for registry in self._registries]  # type: ignore[misc]
        self._view = View(self._registries[0].families())
        self._known: list[Vector | None] = [None] * _PROCESSES
        self.merging: list[float] = []
        self.text = ""
        self.first_seconds = self._merge(self._publish())
        self.first_text = self.text

    def round(self) -> float:
        """Seconds from the published vectors to the text."""
        for change in self._changes:
            change()
        return self._merge(self._publish())

    def _publish(self) -> list[bytes]:
        about = About(serves=False, ended=False, process=1)
        return [encode(about, reader.read(), NO_NUMBERS) for reader in self._readers]

    def _merge(self, published: list[bytes]) -> float:
        started = process_cpu_seconds()
        vectors = [decode(content, 1, 1, like=known) for content, known in zip(published, self._known, strict=True)]
        self._view.fill(1, [vector.counts for vector in vectors])
        merged = process_cpu_seconds()
        self._view.registry.refresh()
        self.text = "".join(self._view.registry.pieces(openmetrics=False))
        rendered = process_cpu_seconds()
        self._known = list(vectors)
        self.merging.append(merged - started)
        return rendered - started


def _merge_peer(folder: str) -> str:
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return prometheus_client.generate_latest(registry).decode()


def _fill_in_processes(folder: str) -> None:
    """`prometheus_client` decides at import whether it writes files."""
    script = (
        "import prometheus_client; from benchmarks.series import *; "
        f"fill_client(prometheus_client.CollectorRegistry(), as_http_metrics({_LINES}))"
    )
    for _ in range(_PROCESSES):
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder},
        )


def _sum_of(text: str) -> float:
    """Of every line but those that tell when a series began."""
    numbers = re.findall(r"^(?!#)(?!\S*_created).* (\S+)$", text, re.MULTILINE)
    return round(sum(map(float, numbers)), 3)
