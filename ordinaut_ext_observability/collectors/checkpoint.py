"""Where the next leader goes on: what was counted, and how far."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, CounterChild, Histogram, HistogramChild
from ordinaut_ext_observability.relay.vector import FamilyLayout, Numbers, decode_layout


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One saved moment. State and totals belong together: each without the other would count twice, or not at all."""

    sequence: int
    """Counts the checkpoints of the cluster, from 1."""
    state: bytes
    """How far the collectors have read."""
    counted: Numbers
    """The totals of the cluster's counters and histograms."""


class CheckpointStore(Protocol):
    """Where the cluster's checkpoint is. Calls come from one thread at a time and end within seconds."""

    def load(self) -> Checkpoint | None:
        """The newest one.

        Raises:
            ObservabilityError: the store cannot be asked.
        """

    def save(self, checkpoint: Checkpoint) -> bool:
        """Keep this one; False, and nothing done, where there is one of the same or a higher sequence.

        Raises:
            ObservabilityError: the store cannot be asked.
        """


class MemoryCheckpoints:
    """The checkpoint of a single process, or of several collectors in it; gone with the process."""

    def __init__(self) -> None:
        self._newest: Checkpoint | None = None
        self._lock = threading.Lock()

    def load(self) -> Checkpoint | None:
        """The newest one."""
        return self._newest

    def save(self, checkpoint: Checkpoint) -> bool:
        """Keep this one; False where there is one of the same or a higher sequence."""
        with self._lock:
            if self._newest is not None and self._newest.sequence >= checkpoint.sequence:
                return False
            self._newest = checkpoint
            return True


def restore_totals(families: Iterable[AnyFamily], counted: Numbers) -> None:
    """Make these families show exactly these numbers; series they have beyond that are forgotten.

    Families and buckets that another version had, and this one has not, are left out.

    Raises:
        VectorError: the layout cannot be read.
    """
    by_name = {family.name: family for family in families}
    for family in by_name.values():
        family.clear()
        if family.starts_at_zero and not family.label_names:
            family.labels()
    position = 0
    for layout in decode_layout(counted.layout):
        found = by_name.get(layout.name)
        fits = found is not None and _fits(found, layout)
        for values in layout.series:
            numbers = counted.values[position : position + layout.width]
            position += layout.width
            if fits and isinstance(found, (Counter, Histogram)):
                _restore(found.labels(*values), numbers)


def _fits(family: AnyFamily, layout: FamilyLayout) -> bool:
    bounds = family.bounds if isinstance(family, Histogram) else ()
    return (family.kind, family.label_names, bounds) == (layout.kind, layout.label_names, layout.bounds)


def _restore(child: CounterChild | HistogramChild, numbers: list[float]) -> None:
    # Added, since under a smaller label budget several series are now one.
    if isinstance(child, CounterChild):
        child.value += numbers[0]
    else:
        child.sum += numbers[0]
        child.counts[:] = [have + int(count) for have, count in zip(child.counts, numbers[1:], strict=True)]
