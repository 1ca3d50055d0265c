"""Storage: a family is one metric, a child is one of its series.

Children are found once and kept by the caller (a route, a check); `inc`, `set` and `observe` on a child are the only
calls on hot paths. Rendering reads the children block by block, see `exposition`.
"""

from __future__ import annotations

import math
import re
import threading
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import accumulate
from typing import ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.errors import MetricDefinitionError
from ordinaut_ext_observability.metrics.budget import MAX_VALUE_LENGTH, LabelBudgets, LabelGuard

BLOCK_SERIES = 200
"""Series rendered without a pause; a family is cut into blocks of this many."""

_VALID_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_VALID_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class Exemplar(NamedTuple):
    """One observation that stands for its bucket, with the trace in which it was made."""

    trace_id: str
    value: float
    timestamp_seconds: float


class CounterChild:
    """A number that only grows. It stays an integer while what is added are integers, which are printed faster."""

    __slots__ = ("_lock", "label_values", "value")

    def __init__(self, label_values: tuple[str, ...], lock: threading.Lock) -> None:
        self.label_values = label_values
        self.value: float = 0
        self._lock = lock

    def inc(self, amount: float = 1) -> None:
        """Add a finite amount of zero or more.

        Raises:
            ValueError: the amount is negative or not finite.
        """
        if not 0 <= amount < math.inf:
            raise ValueError(f"a counter takes finite amounts of zero or more, got {amount!r}")
        with self._lock:
            self.value += amount


class GaugeChild:
    """A number that goes up and down."""

    __slots__ = ("_lock", "label_values", "value")

    def __init__(self, label_values: tuple[str, ...], lock: threading.Lock) -> None:
        self.label_values = label_values
        self.value = 0.0
        self._lock = lock

    def set(self, value: float) -> None:
        self.value = float(value)

    def inc(self, amount: float = 1.0) -> None:
        with self._lock:
            self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        with self._lock:
            self.value -= amount


class HistogramChild:
    """Observations counted in buckets. `counts` holds each bucket's own count, the last one above every bound."""

    __slots__ = ("_bounds", "_lock", "counts", "exemplars", "label_values", "sum")

    def __init__(self, label_values: tuple[str, ...], lock: threading.Lock, bounds: tuple[float, ...]) -> None:
        self.label_values = label_values
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] | None = None
        self._bounds = bounds
        self._lock = lock

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

    def cumulative(self) -> list[int]:
        """Observations at or below each bound; the last is the number of all."""
        return list(accumulate(self.counts))


ChildT = TypeVar("ChildT", CounterChild, GaugeChild, HistogramChild)


class Family(ABC, Generic[ChildT]):
    """One metric: its name, its help, its label names and a child per set of label values."""

    kind: ClassVar[str]
    reserved_labels: ClassVar[tuple[str, ...]] = ()
    starts_at_zero: ClassVar[bool] = True
    """Whether a metric without labels shows before its first use. A gauge does not: 0 would be a claim."""

    def __init__(
        self,
        name: str,
        documentation: str,
        label_names: tuple[str, ...] = (),
        *,
        budgets: LabelBudgets | None = None,
        on_overflow: Callable[[str, str], None] | None = None,
    ) -> None:
        """
        Raises:
            MetricDefinitionError: the name or a label name is not one Prometheus accepts.
        """
        if not _VALID_NAME.fullmatch(name):
            raise MetricDefinitionError(f"{name!r} is not a metric name")
        for label in label_names:
            if not _VALID_LABEL.fullmatch(label) or label in self.reserved_labels:
                raise MetricDefinitionError(f"{label!r} is not a label name {self.kind} {name!r} can have")
        if len(set(label_names)) < len(label_names):
            raise MetricDefinitionError(f"{self.kind} {name!r} has a label name twice: {', '.join(label_names)}")
        self.name = name
        self.documentation = documentation
        self.label_names = label_names
        self.blocks: list[list[ChildT]] = []
        """Blocks only grow, at their ends; when a series is removed there is a new list of new blocks."""
        self._children: dict[tuple[str, ...], ChildT] = {}
        self._lock = threading.Lock()
        self._creation_lock = threading.RLock()
        notify = on_overflow or (lambda _name, _label: None)
        self._budgets = budgets or LabelBudgets()
        self._guard = LabelGuard(label_names, self._budgets, lambda label: notify(name, label))
        reset_in_forked_child(self)
        self._prepare()
        if self.starts_at_zero and not label_names:
            self.labels()

    def reset_after_fork(self) -> None:
        """Free the locks in a forked child: another thread of the parent may have held them."""
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library's own do
        self._creation_lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001

    def labels(self, *values: str) -> ChildT:
        """The child with these label values, in the order of the label names, made when it is new.

        Past a label's budget this is the child that counts under `__other__`.

        Raises:
            MetricDefinitionError: there are more or fewer values than label names.
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
        with self._creation_lock:
            self._children.clear()
            self._guard.forget()
            self._reblock([])

    def children(self) -> Iterator[ChildT]:
        """Every series, in the order of creation."""
        for block in list(self.blocks):
            yield from list(block)

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def budgets(self) -> LabelBudgets:
        """How many series there may be."""
        return self._budgets

    def twin(self, budgets: LabelBudgets) -> Self:
        """A family of the same definition with none of its series; its overflows are not counted."""
        return type(self)(self.name, self.documentation, self.label_names, budgets=budgets)

    def _prepare(self) -> None:
        """Check what is particular to this type of metric."""

    @abstractmethod
    def _make(self, values: tuple[str, ...]) -> ChildT:
        """A new child."""

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
                child = self._make(admitted)
                self._children[admitted] = child
                if not self.blocks or len(self.blocks[-1]) >= BLOCK_SERIES:
                    self.blocks.append([])
                self.blocks[-1].append(child)
            return child

    def _settle(self) -> None:
        """Series are gone: make the blocks and the budget those of the rest."""
        self._guard.forget()
        for values in self._children:
            self._guard.note(values)
        self._reblock(list(self._children.values()))

    def _reblock(self, children: list[ChildT]) -> None:
        self.blocks = [children[start : start + BLOCK_SERIES] for start in range(0, len(children), BLOCK_SERIES)]


def _kept(value: object) -> str:
    """The part of a label value that is kept, as text that can be encoded."""
    text = str(value)[:MAX_VALUE_LENGTH]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class Counter(Family[CounterChild]):
    """A metric that only grows; its name ends in `_total`."""

    kind = "counter"

    def _prepare(self) -> None:
        if not self.name.endswith("_total"):
            raise MetricDefinitionError(f"the name of counter {self.name!r} must end in _total")

    def _make(self, values: tuple[str, ...]) -> CounterChild:
        return CounterChild(values, self._lock)


MergedBy = Literal["sum", "max"]


class Gauge(Family[GaugeChild]):
    """A metric that goes up and down."""

    kind = "gauge"
    starts_at_zero = False

    def __init__(
        self,
        name: str,
        documentation: str,
        label_names: tuple[str, ...] = (),
        *,
        merged_by: MergedBy = "max",
        budgets: LabelBudgets | None = None,
        on_overflow: Callable[[str, str], None] | None = None,
    ) -> None:
        """`merged_by` says what stands for the values that several processes have for one series.

        Raises:
            MetricDefinitionError: the name or a label name is not one Prometheus accepts.
        """
        self.merged_by = merged_by
        super().__init__(name, documentation, label_names, budgets=budgets, on_overflow=on_overflow)

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show these values by their labels, and no others."""
        # First, so that new series find the places of those that go.
        kept = {child for labels in values if (child := self.find(*labels)) is not None}
        if len(kept) < len(self):
            self.keep_only(kept)
        for labels, value in values.items():
            self.labels(*labels).set(value)

    def twin(self, budgets: LabelBudgets) -> Self:
        """A family of the same definition with none of its series; its overflows are not counted."""
        return type(self)(self.name, self.documentation, self.label_names, merged_by=self.merged_by, budgets=budgets)

    def _make(self, values: tuple[str, ...]) -> GaugeChild:
        return GaugeChild(values, self._lock)


class Histogram(Family[HistogramChild]):
    """A metric that counts observations in buckets."""

    kind = "histogram"
    reserved_labels = ("le",)

    def __init__(
        self,
        name: str,
        documentation: str,
        label_names: tuple[str, ...] = (),
        *,
        bounds: tuple[float, ...],
        budgets: LabelBudgets | None = None,
        on_overflow: Callable[[str, str], None] | None = None,
    ) -> None:
        """`bounds` are the upper bounds of the buckets, ascending and finite; the bucket above them all is implied.

        Raises:
            MetricDefinitionError: the name, a label name or the bounds are not usable.
        """
        if not bounds or not all(map(math.isfinite, bounds)) or list(bounds) != sorted(set(bounds)):
            raise MetricDefinitionError(f"{name}: bounds must be finite and ascending, got {bounds}")
        self.bounds = tuple(map(float, bounds))
        super().__init__(name, documentation, label_names, budgets=budgets, on_overflow=on_overflow)

    def twin(self, budgets: LabelBudgets) -> Self:
        """A family of the same definition with none of its series; its overflows are not counted."""
        return type(self)(self.name, self.documentation, self.label_names, bounds=self.bounds, budgets=budgets)

    def _make(self, values: tuple[str, ...]) -> HistogramChild:
        return HistogramChild(values, self._lock, self.bounds)


AnyFamily = Counter | Gauge | Histogram
