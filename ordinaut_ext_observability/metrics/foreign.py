"""What other code registered on `prometheus_client`'s default registry, shown beside our own families."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from ordinaut_ext_observability.metrics.exposition import Collector, FixedCollector, render_with_client

_SAMPLES_PER_PART = 200
_MAX_CLASHES = 1000


class ForeignMetrics:
    """The metrics of another registry, less those whose names are ours.

    A collector that raises costs its own metrics and nothing else; `on_error` is told. Foreign collectors may block
    or hold thousands of series, so this is called in a thread, where it lets go of the interpreter between pieces.
    """

    def __init__(
        self,
        *,
        reserved_names: Callable[[], set[str]],
        on_clash: Callable[[str], None],
        on_error: Callable[[BaseException], None],
        registry: CollectorRegistry = REGISTRY,
        multiprocess_dir: str | None = None,
    ) -> None:
        """With `multiprocess_dir`, `prometheus_client`'s files of all processes are shown instead of the registry."""
        self._reserved_names = reserved_names
        self._on_clash = on_clash
        self._on_error = on_error
        self._registry = registry
        self._multiprocess_dir = multiprocess_dir
        self._clashes: set[str] = set()

    def render(self, *, openmetrics: bool, only: frozenset[str] | None = None, escaping: str = "") -> list[str]:
        """The text of the metrics, as the installed `prometheus_client` prints them."""
        reserved = self._reserved_names()
        pieces: list[str] = []
        for collector in self._collectors():
            for metric in self._metrics_of(collector):
                pieces += self._pieces_of(metric, reserved, openmetrics=openmetrics, only=only, escaping=escaping)
        return pieces

    def _collectors(self) -> Iterable[Collector]:
        if self._multiprocess_dir is not None:
            # The registry shows this process alone, and the same numbers a second time.
            return [MultiProcessCollector(CollectorRegistry(), self._multiprocess_dir)]  # type: ignore[no-untyped-call]
        try:
            # Each by itself, since in the registry's own collect() one that raises hides those after it.
            collectors: list[Collector] = list(self._registry._collector_to_names)  # noqa: SLF001
        except AttributeError:
            return [self._registry]
        labels = self._registry.get_target_info()
        if not labels:
            return collectors
        target_info = Metric("target", "Target metadata", "info")
        target_info.add_sample("target_info", labels, 1)
        return [FixedCollector([target_info]), *collectors]

    def _metrics_of(self, collector: Collector) -> Iterator[Metric]:
        try:
            yield from collector.collect()
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything
            self._on_error(error)

    def _pieces_of(
        self, metric: Metric, reserved: set[str], *, openmetrics: bool, only: frozenset[str] | None, escaping: str
    ) -> list[str]:
        pieces = []
        try:
            names = _names_of(metric)
            if names & reserved:
                self._note_clash(metric.name)
                return []
            if only is not None and only.isdisjoint(names):
                return []
            for part in _parts(metric):
                pieces.append(render_with_client([part], openmetrics=openmetrics, escaping=escaping))
                time.sleep(0)
        except Exception as error:  # noqa: BLE001 - values and labels of foreign code may be of any type
            self._on_error(error)
            return []
        header_lines = "".join(f"{line}\n" for line in pieces[0].split("\n") if line.startswith("# "))
        return [pieces[0], *(piece.removeprefix(header_lines) for piece in pieces[1:])]

    def _note_clash(self, name: str) -> None:
        if name not in self._clashes and len(self._clashes) < _MAX_CLASHES:
            self._clashes.add(name)
            self._on_clash(name)


def _parts(metric: Metric) -> Iterator[Metric]:
    """The metric in parts of a bounded number of samples, so that no part holds the interpreter for long."""
    samples = metric.samples
    # `_created` and the like are printed as metrics of their own, once, after all others: such a metric stays whole.
    if len(samples) <= _SAMPLES_PER_PART or any(s.name.endswith(("_created", "_gsum", "_gcount")) for s in samples):
        yield metric
        return
    for start in range(0, len(samples), _SAMPLES_PER_PART):
        part = copy.copy(metric)
        part.samples = samples[start : start + _SAMPLES_PER_PART]
        yield part


def _names_of(metric: Metric) -> set[str]:
    return {metric.name, *(sample.name for sample in metric.samples)}
