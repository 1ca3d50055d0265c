"""A query over a source, and its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ordinaut_ext_observability.history.series import Labels, Series
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
