"""Storage: a family is one metric, a child is one of its series.

Children are found once and kept by the caller (a route, a check); `inc`, `set` and `observe` on a child are the only
calls on hot paths. Rendering reads the children block by block, see `exposition`.
"""

from __future__ import annotations

import math
import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.errors import MetricDefinitionError
from ordinaut_ext_observability.metrics.budget import MAX_VALUE_LENGTH, LabelBudgets, LabelGuard

BLOCK_SERIES = 100
"""Series of a block, rendered without a pause: histograms in some 0.3 ms, while they are new in one to two."""

MergedBy = Literal["sum", "max"]

_VALID_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_VALID_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class Exemplar(NamedTuple):
    """One observation that stands for its bucket, with the trace in which it was made."""

    trace_id: str
    value: float
    timestamp_seconds: float


@dataclass(slots=True, eq=False)
class CounterChild:
    """A number that only grows. It stays an integer while what is added are integers, which are printed faster."""

    label_values: tuple[str, ...]
    _lock: threading.Lock
    value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add to it; raises ValueError where the amount is negative or not finite."""
        if not 0 <= amount < math.inf:
            raise ValueError(f"a counter takes finite amounts of zero or more, got {amount!r}")
        with self._lock:
            self.value += amount


@dataclass(slots=True, eq=False)
class GaugeChild:
    """A number that goes up and down."""

    label_values: tuple[str, ...]
    _lock: threading.Lock
    value: float = 0.0

    def set(self, value: float) -> None:
        self.value = float(value)

    def inc(self, amount: float = 1.0) -> None:
        with self._lock:
            self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        with self._lock:
            self.value -= amount


@dataclass(slots=True, eq=False)
class HistogramChild:
    """Observations counted in buckets. `counts` holds each bucket's own count, the last one above every bound."""

    label_values: tuple[str, ...]
    _lock: threading.Lock
    _bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0
    exemplars: list[Exemplar | None] | None = None

    def observe(self, value: float) -> None:
        """Count one observation; NaN is in no bucket but the last, which has no bound."""
        index = bisect_left(self._bounds, value) if value == value else -1  # noqa: PLR0124 - the test for NaN
        with self._lock:
            self.counts[index] += 1
            self.sum += value

    def exemplify(self, exemplar: Exemplar) -> None:
        """Let an observation already counted stand for its bucket."""
        with self._lock:
            if self.exemplars is None:
                self.exemplars = [None] * len(self.counts)
            self.exemplars[bisect_left(self._bounds, exemplar.value)] = exemplar


ChildT = TypeVar("ChildT", CounterChild, GaugeChild, HistogramChild)


class Family(Generic[ChildT]):  # not an ABC: `isinstance` would take ten times as long
    """One metric: its name, its help, its label names and a child per set of label values."""

    kind: ClassVar[str]

    def __init__(
        self,
        name: str,
        documentation: str,
        label_names: tuple[str, ...] = (),
        *,
        bounds: tuple[float, ...] = (),
        merged_by: MergedBy = "max",
        budgets: LabelBudgets | None = None,
        on_overflow: Callable[[str, str], object] = lambda _metric, _label: None,
    ) -> None:
        """`bounds` are a histogram's: of its buckets, finite and ascending; a bucket above them all is implied.

        `merged_by` says what stands for the values that several processes have for one series of a gauge. `on_overflow`
        is told the metric and the label whose new value had no place.

        Raises MetricDefinitionError where Prometheus does not accept the name, a label name or the bounds.
        """
        self.name = name
        self.documentation = documentation
        self.label_names = label_names
        self.bounds = tuple(map(float, bounds))
        self.merged_by = merged_by
        self.budgets = budgets or LabelBudgets()
        self._check_definition()
        self.blocks: list[list[ChildT]] = []
        """Blocks only grow, at their ends; when a series is removed there is a new list of new blocks."""
        self._children: dict[tuple[str, ...], ChildT] = {}
        self._lock = threading.Lock()
        self._creation_lock = threading.RLock()
        self._guard = LabelGuard(label_names, self.budgets, partial(on_overflow, name))
        reset_in_forked_child(self)
        if self.kind != "gauge" and not label_names:
            self.labels()  # shows before its first use; a gauge does not, since 0 would be a claim

    def _check_definition(self) -> None:
        name, labels, bounds = self.name, self.label_names, self.bounds
        if not _VALID_NAME.fullmatch(name):
            raise MetricDefinitionError(f"{name!r} is not a metric name")
        if self.kind == "counter" and not name.endswith("_total"):
            raise MetricDefinitionError(f"the name of counter {name!r} must end in _total")
        for label in labels:
            if not _VALID_LABEL.fullmatch(label) or (self.kind == "histogram" and label == "le"):
                raise MetricDefinitionError(f"{label!r} is not a label name {self.kind} {name!r} can have")
        if len(set(labels)) < len(labels):
            raise MetricDefinitionError(f"{self.kind} {name!r} has a label name twice: {', '.join(labels)}")
        if bool(bounds) != (self.kind == "histogram"):
            raise MetricDefinitionError(f"{name}: a histogram has bounds, and no other metric; got {bounds}")
        if not all(map(math.isfinite, bounds)) or list(bounds) != sorted(set(bounds)):
            raise MetricDefinitionError(f"{name}: bounds must be finite and ascending, got {bounds}")

    def reset_after_fork(self) -> None:
        """Free the locks in a forked child: another thread of the parent may have held them."""
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library's own do
        self._creation_lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001

    def twin(self, budgets: LabelBudgets) -> Self:
        """A family of the same definition with none of its series; its overflows are not counted."""
        definition = (self.name, self.documentation, self.label_names)
        return type(self)(*definition, bounds=self.bounds, merged_by=self.merged_by, budgets=budgets)

    def labels(self, *values: str) -> ChildT:
        """The child with these label values, in the order of the label names, made when it is new.

        Past a label's budget this is the child that counts under `__other__`. Raises MetricDefinitionError where there
        are more or fewer values than label names.
        """
        child = self._children.get(values)
        return child if child is not None else self._add(values)

    def find(self, *values: str) -> ChildT | None:
        """The child with these label values, or None where there is none."""
        return self._children.get(values)

    def remove(self, *values: str) -> None:
        """Forget one series: what it stood for is gone, and others may have its place in the budget."""
        with self._creation_lock:
            if self._children.pop(values, None) is not None:
                self._settle()

    def keep_only(self, kept: Container[ChildT]) -> None:
        """Forget all series but these."""
        with self._creation_lock:
            self._children = {values: child for values, child in self._children.items() if child in kept}
            self._settle()

    def clear(self) -> None:
        """Forget every series."""
        self.keep_only(())

    def children(self) -> list[ChildT]:
        """Every series, in the order of creation."""
        return [child for block in list(self.blocks) for child in list(block)]

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    def _settle(self) -> None:
        """Series are gone: make the blocks and the budget those of the rest."""
        self._guard.keep_only(self._children)
        children = list(self._children.values())
        self.blocks = [children[start : start + BLOCK_SERIES] for start in range(0, len(children), BLOCK_SERIES)]

    def _make(self, values: tuple[str, ...]) -> ChildT:
        raise NotImplementedError

    def _add(self, values: tuple[str, ...]) -> ChildT:
        if len(values) != len(self.label_names):
            raise MetricDefinitionError(f"{self.name} has labels {self.label_names}, got {len(values)} values")
        with self._creation_lock:
            kept = tuple(map(_kept, values))
            child = self._children.get(kept)
            if child is not None:
                return child
            admitted = self._guard.admit(kept, len(self._children))
            child = self._children.get(admitted)
            if child is None:
                child = self._children[admitted] = self._make(admitted)
                if not self.blocks or len(self.blocks[-1]) >= BLOCK_SERIES:
                    self.blocks.append([])
                self.blocks[-1].append(child)
            return child


def _kept(value: object) -> str:
    """The part of a label value that is kept, as text that can be encoded."""
    text = str(value)[:MAX_VALUE_LENGTH]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class Counter(Family[CounterChild]):
    """A metric that only grows; its name ends in `_total`."""

    kind = "counter"

    def _make(self, values: tuple[str, ...]) -> CounterChild:
        return CounterChild(values, self._lock)


class Gauge(Family[GaugeChild]):
    """A metric that goes up and down."""

    kind = "gauge"

    def _make(self, values: tuple[str, ...]) -> GaugeChild:
        return GaugeChild(values, self._lock)

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show these values by their labels, and no others."""
        # First, so that new series find the places of those that go.
        kept = {child for labels in values if (child := self.find(*labels)) is not None}
        if len(kept) < len(self):
            self.keep_only(kept)
        for labels, value in values.items():
            self.labels(*labels).set(value)


class Histogram(Family[HistogramChild]):
    """A metric that counts observations in buckets."""

    kind = "histogram"

    def _make(self, values: tuple[str, ...]) -> HistogramChild:
        return HistogramChild(values, self._lock, self.bounds, [0] * (len(self.bounds) + 1))


AnyFamily = Counter | Gauge | Histogram
