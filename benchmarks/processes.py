"""Four processes with 10 k lines of series each, merged into one text, against the peer's MultiProcessCollector.

The peer begins with what each process left behind, its mmap files; ours with what the other three have published; the
scraped process publishes its own first. Both end with the text of a scrape. A tenth of the values changes between two
scrapes. The sums must be the same. Cost is processor time.
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
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.metrics.budget import UNBOUNDED
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.merged import MergedRegistry
from ordinaut_ext_observability.relay.publisher import Publisher
from ordinaut_ext_observability.relay.series_list import SeriesList
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore

_PROCESSES = 4
_LINES = 10_000


def run(options: Options) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        _fill_in_processes(folder)
        ours = _Ours(f"{folder}/store/shared.sqlite")

        def peer() -> float:
            started = process_cpu_seconds()
            _merge_peer(folder)
            return process_cpu_seconds() - started

        figures = take_turns({"ours": ours.round, "peer": peer}, options.pick(4, 20))
        ours.close()
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
                f"publishing and reading took {milliseconds(low(ours.merging))} of it",
                f"the publication of each other process took {milliseconds(low(ours.publishing))}",
            ],
        )
    ]


class _Ours:
    """Four processes that publish, and one of them that is scraped, over a SQLite file."""

    def __init__(self, path: str) -> None:
        clock = Clock()
        self._stores = [SqliteRelayStore(path, clock) for _ in range(_PROCESSES)]
        self._registries = [Registry() for _ in range(_PROCESSES)]
        self._changes = [fill_ours(registry, as_http_metrics(_LINES)) for registry in self._registries]
        self._publishers = [Publisher(registry.families, lambda: None) for registry in self._registries]
        self._series = [SeriesList(UNBOUNDED) for _ in range(_PROCESSES)]
        self._merged = MergedRegistry(self._registries[0].families())
        self.merging: list[float] = []
        self.publishing: list[float] = []
        self.text = ""
        self._publish()
        self.first_seconds = self._scrape()
        self.first_text = self.text

    def round(self) -> float:
        """Seconds from the scrape's request to the text, while the others have published by themselves."""
        for change in self._changes:
            change()
        self._publish()
        return self._scrape()

    def _publish(self) -> None:
        started = process_cpu_seconds()
        for store, publisher, series in list(zip(self._stores, self._publishers, self._series, strict=True))[1:]:
            publisher.publish(store, series)
        self.publishing.append((process_cpu_seconds() - started) / (_PROCESSES - 1))

    def _scrape(self) -> float:
        started = process_cpu_seconds()
        store, publisher, series = self._stores[0], self._publishers[0], self._series[0]
        publisher.publish(store, series)
        reading = series.read(store)
        self._merged.show_total(series, reading.total, publisher.acknowledged())
        merged = process_cpu_seconds()
        self._merged.registry.refresh()
        self.text = "".join(self._merged.registry.pieces(openmetrics=False))
        self.merging.append(merged - started)
        return process_cpu_seconds() - started

    def close(self) -> None:
        for store in self._stores:
            store.close()


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
