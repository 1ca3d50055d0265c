"""A query over a source, its answer, and bounds on the work: done in parts, between which there may be a pause."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.history.series import Labels, Series
from ordinaut_ext_observability.promql.errors import ExecutionError, QueryTimeoutError
from ordinaut_ext_observability.promql.nodes import MatrixSelector, Node, Subquery, ValueType, VectorSelector, children


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one query. Reaching one is an `ExecutionError`, or a `QueryTimeoutError`."""

    samples: int = 10_000_000
    """Samples read or made, all steps together. They take up to 16 bytes each, and about a microsecond."""
    series: int = 50_000
    """Series of one selector, or of the answer."""
    steps: int = 11_001
    """Steps of a range, or of a subquery: what lies between them are Prometheus's 11,000."""
    seconds: float = 30.0
    """Time from the first step of the work to the last."""


@dataclass(frozen=True, slots=True)
class Query:
    """An expression at one time, or at each step from the start to the end, both included."""

    expression: Node
    start_ms: int
    end_ms: int
    step_ms: int = 0
    """0: an instant query, at the start."""
    lookback_ms: int = 5 * 60_000
    """Age from which on a sample is no longer a series' current value: Prometheus's own default."""
    subquery_step_ms: int = 60_000
    """Step of subqueries that have none: Prometheus's default `evaluation_interval`."""

    def moved(self, node: VectorSelector | Subquery, time_ms: int) -> int:
        """The time that a node looks at, at a step: moved by its offset and `@`."""
        fixed = {"start": self.start_ms, "end": self.end_ms, None: time_ms}
        return (node.at if isinstance(node.at, int) else fixed[node.at]) - node.offset_ms

    def earliest_ms(self) -> int | None:
        """The earliest time that the query asks about, in milliseconds since 1970; None where it asks for no series.

        The time for which a sample stands after it was taken is left out: the query is as good with a newer one.
        """
        return min(self._reaches(self.expression, self.start_ms), default=None)

    def _reaches(self, node: Node, time_ms: int) -> Iterator[int]:
        """Times that a part of the query looks back to when it is evaluated at this time."""
        if isinstance(node, VectorSelector):
            yield self.moved(node, time_ms)
        if isinstance(node, Subquery):
            time_ms = self.moved(node, time_ms) - node.range_ms
        for child in children(node):
            for reach in self._reaches(child, time_ms):
                yield reach - node.range_ms if isinstance(node, MatrixSelector) else reach


class Sample(NamedTuple):
    """A series' value at the time of the query."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The value of a query: a number, a text, samples, or series."""

    type: ValueType
    value: float | str | list[Sample] | list[Series]


PIECE: Final = 64
"""Series between two pauses where each takes some microseconds: a piece then takes less than half a millisecond."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Parts = Iterator[Sequence[tuple[Labels, float]]]
"""A vector, some of its samples at a time. A part may be empty, where there is only a pause."""
Paused = Generator[tuple[()], None, ResultT]
"""Work with pauses, and its result."""


def pieces(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """The items in sequences of at most `PIECE`, after each of which there should be a pause."""
    if len(items) <= PIECE:
        return iter((items,))
    return (items[start : start + PIECE] for start in range(0, len(items), PIECE))


def unique(parts: Iterable[Sequence[tuple[Labels, float]]]) -> Parts:
    """The same parts, with a pause before each, since all nodes may work on a part in a row.

    Raises ExecutionError, in Prometheus's words, where a series is in them twice.
    """
    found: set[Labels] = set()
    count = 0
    for part in parts:
        found.update([labels for labels, _ in part])
        count += len(part)
        if len(found) < count:
            raise ExecutionError("vector cannot contain metrics with the same labelset")
        if count > 1:
            yield ()
        yield part


class Work:
    """The work that a query has done, against its limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._samples = 0
        self._ends_at = monotonic_seconds() + limits.seconds

    def count_samples(self, samples: int) -> None:
        """Add samples that were read or made. Raises ExecutionError if these are too many."""
        self._samples += samples
        if self._samples > self._limits.samples:
            raise ExecutionError(
                f"the query reads or makes more than {self._limits.samples} samples; "
                "ask for less time, a longer step or fewer series"
            )

    def check_series(self, series: int) -> None:
        """Raise ExecutionError if a selector, a union or the answer has too many series."""
        if series > self._limits.series:
            raise ExecutionError(f"more than {self._limits.series} series at a time; name more labels in the selectors")

    def check_steps(self, steps: range) -> None:
        """Raise ExecutionError if the query, or a subquery, has too many steps."""
        count = (steps.stop - steps.start - 1) // steps.step + 1  # len() has no answer beyond 64 bits
        if count > self._limits.steps:
            raise ExecutionError(
                f"{count} steps are more than the limit of {self._limits.steps}; take a longer step or a shorter range"
            )

    def check_time(self) -> None:
        """Raise QueryTimeoutError if the query takes too long."""
        if monotonic_seconds() > self._ends_at:
            raise QueryTimeoutError(f"the query took longer than its limit of {self._limits.seconds:g} seconds")
