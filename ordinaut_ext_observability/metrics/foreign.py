"""Metrics that other code registered on `prometheus_client`'s default registry, shown beside our own families."""

from __future__ import annotations

import copy
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ordinaut_ext_observability.metrics.exposition import FixedCollector, render_with_client

_SAMPLES_PER_PART = 200
_MAX_CLASHES = 1000
_LARGEST_FILE_BYTES = 256 * 1024 * 1024
"""A file is read whole: one this large has over a million series, or a header that lies."""


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ANY_NAME_IS_PRINTABLE = find_spec("prometheus_client.validation") is not None
"""Newer clients escape names; older ones print them as they are, and one odd name spoils the whole answer."""


class UnreadableFilesError(Exception):
    """Some of `prometheus_client`'s files cannot be read; the metrics are those of the others."""


class ForeignMetrics:
    """The metrics of another registry, less those whose names are ours.

    A collector that raises or hangs costs its own metrics and nothing else, as does a file that cannot be read;
    `on_error` is told. Foreign collectors may block or hold thousands of series, so this is called in a thread, where
    it lets go of the interpreter between pieces.
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
        self._files = _Files(multiprocess_dir, on_error) if multiprocess_dir is not None else None
        self._clashes: set[str] = set()
        self._busy: dict[threading.Thread, Collector] = {}
        self._hanging: dict[Collector, threading.Thread] = {}

    def render(self, *, openmetrics: bool, only: frozenset[str] | None = None, escaping: str = "") -> Iterator[str]:
        """The text of the metrics, as the installed `prometheus_client` prints them."""
        reserved, thread = self._reserved_names(), threading.current_thread()
        print_part = partial(render_with_client, openmetrics=openmetrics, escaping=escaping)
        try:
            for collector in self._collectors():
                if self._still_hangs(collector):
                    continue
                self._busy[thread] = collector
                for metric in self._metrics_of(collector):
                    yield from self._pieces_of(metric, reserved, only, print_part)
        finally:
            self._busy.pop(thread, None)

    def give_up(self, thread: threading.Thread) -> None:
        """Leave out the collector that keeps this thread from ending, until it ends."""
        collector = self._busy.get(thread)
        if collector is not None:
            self._hanging[collector] = thread

    def _still_hangs(self, collector: Collector) -> bool:
        thread = self._hanging.get(collector)
        if thread is not None and thread.is_alive():
            self._on_error(TimeoutError("the collector has not returned yet"))
            return True
        self._hanging.pop(collector, None)
        return False

    def _collectors(self) -> Iterable[Collector]:
        if self._files is not None:
            # The registry shows this process alone, and the same numbers a second time.
            return [self._files]
        try:
            # Each by itself, since in the registry's own collect() one that raises hides those after it.
            collectors = list(self._registry._collector_to_names)  # noqa: SLF001
        except AttributeError:
            return [self._registry]
        labels = self._registry.get_target_info()
        if not labels:
            return collectors
        target_info = Metric("target", "Target metadata", "info")
        target_info.add_sample("target_info", labels, 1)
        return [FixedCollector(target_info), *collectors]

    def _metrics_of(self, collector: Collector) -> Iterator[Metric]:
        try:
            yield from collector.collect()
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything
            self._on_error(error)

    def _pieces_of(
        self, metric: Metric, reserved: set[str], only: frozenset[str] | None, print_part: Callable[[Metric], str]
    ) -> list[str]:
        pieces = []
        try:
            names = {metric.name, *(sample.name for sample in metric.samples)}
            if names & reserved:
                if metric.name not in self._clashes and len(self._clashes) < _MAX_CLASHES:
                    self._clashes.add(metric.name)
                    self._on_clash(metric.name)
                return []
            if only is not None and only.isdisjoint(names):
                return []
            if not _ANY_NAME_IS_PRINTABLE:
                labels = {label for sample in metric.samples for label in sample.labels}
                if not all(map(_NAME.fullmatch, names | labels)):
                    self._on_error(ValueError(f"the name of a metric or a label cannot be printed: {metric.name!r}"))
                    return []
            for part in _parts(metric):
                pieces.append(print_part(part))
                time.sleep(0)
        except Exception as error:  # noqa: BLE001 - values and labels of foreign code may be of any type
            self._on_error(error)
            return []
        header_lines = "".join(f"{line}\n" for line in pieces[0].split("\n") if line.startswith("# "))
        return [pieces[0], *(piece.removeprefix(header_lines) for piece in pieces[1:])]


@dataclass(frozen=True, eq=False)
class _Files(Collector):
    """The metrics that all processes keep in the files of a directory, as `prometheus_client` merges them."""

    directory: str
    on_error: Callable[[BaseException], None]

    def collect(self) -> Iterable[Metric]:
        """The metrics of all files that can be read; one that goes while it is read is left out."""
        with os.scandir(self.directory) as entries:
            found = sorted(entry.path for entry in entries if entry.name.endswith(".db"))
        files = [path for path in found if _is_ordinary(path)]
        merged = _merged(files)
        if merged is None:
            # Only now one by one: that reads everything twice.
            files = [path for path in files if _merged([path]) is not None]
            merged = _merged(files) or ()
        if len(files) < len(found):
            self.on_error(UnreadableFilesError(f"{len(found) - len(files)} of {len(found)} files"))
        return merged


def _is_ordinary(path: str) -> bool:
    """False for what would block, or never end, when it is read."""
    try:
        status = Path(path).stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_FILE_BYTES


def _merged(files: list[str]) -> Iterable[Metric] | None:
    """The metrics of these files together, None where one of them cannot be read."""
    try:
        return cast("Iterable[Metric]", MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - what is in a torn file may raise anything
        return None


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
