"""The state of evaluating one expression over some steps, and what evaluates each kind of node.

Each node is evaluated by a generator: it yields where there may be a pause, and returns the node's value at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator
from operator import neg
from typing import Any, Final, TypeVar, cast

from ordinaut_ext_observability.history.series import Labels, SampleSource, Series
from ordinaut_ext_observability.promql import aggregate, binary, selecting
from ordinaut_ext_observability.promql.functions import calls
from ordinaut_ext_observability.promql.labels import (
    Remembered,
    Vector,
    drop_name,
)
from ordinaut_ext_observability.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Negation,
    Node,
    Number,
    VectorSelector,
)
from ordinaut_ext_observability.promql.query import Query
from ordinaut_ext_observability.promql.work import Work, pieces, unique

StateT = TypeVar("StateT")

Evaluating = Generator[None, None, Vector]
EvaluatingScalar = Generator[None, None, float]


class Evaluator:
    """Evaluates nodes at the steps of a query or of a subquery."""

    def __init__(self, query: Query, source: SampleSource, work: Work, steps: range) -> None:
        self.query = query
        self.source = source
        self.work = work
        self.steps = steps
        """Times in milliseconds at which nodes are evaluated."""
        self._states: dict[Node, object] = {}

    def vector(self, node: Node, time: int) -> Evaluating:
        """The samples of a node whose type is vector."""
        return _VECTORS[type(node)](self, node, time)

    def scalar(self, node: Node, time: int) -> EvaluatingScalar:
        """The value of a node whose type is scalar."""
        return _SCALARS[type(node)](self, node, time)

    def scalars(self, call: Call, time: int) -> Generator[None, None, list[float]]:
        """The values of a call's arguments whose type is scalar."""
        values = []
        for argument in call.arguments:
            if argument.type == "scalar":
                value = yield from self.scalar(argument, time)
                values.append(value)
        return values

    def state(self, node: Node, make: Callable[[], StateT]) -> StateT:
        """State of the node that lasts from step to step."""
        state = self._states.get(node)
        if state is None:
            state = self._states[node] = make()
        return cast("StateT", state)

    def mapped(self, node: Node, vector: Vector, function: Callable[[float], float]) -> Evaluating:
        """Samples with the function's results for values, and labels without the metric's name."""
        nameless = self.state(node, lambda: Remembered(drop_name))
        result: Vector = []
        for piece in pieces(vector):
            result += [(nameless[labels], function(value)) for labels, value in piece]
            yield
        return (yield from unique(result))

    def over(self, steps: range) -> Evaluator:
        """An evaluator of the same query at other steps."""
        self.work.check_steps(steps)
        return Evaluator(self.query, self.source, self.work, steps)

    def series_of(self, node: Node) -> Generator[None, None, list[Series]]:
        """The node's value at all steps."""
        found: dict[Labels, tuple[array[int], array[float]]] = {}
        for time in self.steps:
            if node.type == "scalar":
                vector: Vector = [((), (yield from self.scalar(node, time)))]
            else:
                vector = yield from self.vector(node, time)
            self.work.count_samples(len(vector))
            for piece in pieces((yield from unique(vector))):
                for labels, value in piece:
                    samples = found.get(labels)
                    if samples is None:
                        samples = found[labels] = (array("q"), array("d"))
                    samples[0].append(time)
                    samples[1].append(value)
                yield
            self.work.check_series(len(found))
        series: list[Series] = []
        for items in pieces(list(found.items())):
            series += [Series(labels, *samples) for labels, samples in items]
            yield
        return series


def _number(_evaluator: Evaluator, node: Number, _time: int) -> EvaluatingScalar:
    yield from ()
    return node.value


def _negated_scalar(evaluator: Evaluator, node: Negation, time: int) -> EvaluatingScalar:
    return -(yield from evaluator.scalar(node.expression, time))


def _negated(evaluator: Evaluator, node: Negation, time: int) -> Evaluating:
    vector = yield from evaluator.vector(node.expression, time)
    return (yield from evaluator.mapped(node, vector, neg))


_VECTORS: Final[dict[type, Callable[[Evaluator, Any, int], Evaluating]]] = {
    VectorSelector: selecting.instant,
    Binary: binary.vector,
    Aggregation: aggregate.aggregation,
    Call: calls.vector,
    Negation: _negated,
}
_SCALARS: Final[dict[type, Callable[[Evaluator, Any, int], EvaluatingScalar]]] = {
    Number: _number,
    Binary: binary.scalar,
    Call: calls.scalar,
    Negation: _negated_scalar,
}
