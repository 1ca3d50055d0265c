"""Queries evaluated over a source of samples, piece by piece.

::

    query = Query(parse("sum(rate(requests_total[5m]))"), start_ms=now_ms, end_ms=now_ms)
    answer = run_to_end(evaluate(query, history, Limits()))

Each node is evaluated by a generator: it yields where there may be a pause, and returns the node's value at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator
from operator import itemgetter
from typing import Any, Final, TypeVar, cast

from ordinaut_ext_observability.history.series import Labels, SampleSource, Series
from ordinaut_ext_observability.promql import aggregate, nodes, operators, selecting
from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.functions import calls
from ordinaut_ext_observability.promql.labels import Remembered, Vector, drop_name
from ordinaut_ext_observability.promql.query import Answer, Limits, Query, Sample
from ordinaut_ext_observability.promql.work import Work, changed, pieces, unique

StateT = TypeVar("StateT")

Evaluating = Generator[None, None, Vector]
EvaluatingScalar = Generator[None, None, float]
Answering = Generator[None, None, Answer]

_by_labels = itemgetter(0)


def evaluate(query: Query, source: SampleSource, limits: Limits) -> Answering:
    """The query's answer. Yields where there may be a pause: at most about a millisecond of work lies between two.

    Raises:
        BadQueryError: The expression has no value over a range.
        ExecutionError: Evaluating failed, or reached a limit on samples, series or steps.
        QueryTimeoutError: It took longer than the limit.
    """
    work = Work(limits)
    answering = _answer(query, source, work)
    while True:
        try:
            next(answering)
        except StopIteration as done:
            answer: Answer = done.value
            return answer
        work.check_time()
        yield


def _answer(query: Query, source: SampleSource, work: Work) -> Answering:
    node, time = query.expression, query.start_ms
    steps = range(time, query.end_ms + 1, query.step_ms) if query.step_ms > 0 else range(time, time + 1)
    work.check_steps(steps)
    evaluator = Evaluator(query, source, work, steps)
    if query.step_ms > 0:
        if node.type not in ("scalar", "vector"):
            kind = "string" if node.type == "string" else "range vector"
            raise BadQueryError(f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector')
        return Answer("matrix", sorted((yield from evaluator.series_of(node)), key=_by_labels))
    if isinstance(node, nodes.String):
        return Answer("string", node.value)
    if node.type == "scalar":
        return Answer("scalar", (yield from evaluator.scalar(node, time)))
    if isinstance(node, nodes.MatrixSelector | nodes.Subquery):
        series = yield from selecting.ranges(evaluator, node)
        found = yield from changed(series, selecting.window_at(evaluator, node, time).cut)
        return Answer("matrix", sorted(found, key=_by_labels))
    vector = yield from evaluator.vector(node, time)
    work.check_series(len(vector))
    return Answer("vector", (yield from changed(vector, lambda piece: [Sample(*sample) for sample in piece])))


class Evaluator:
    """Evaluates nodes at the steps of a query or of a subquery."""

    def __init__(self, query: Query, source: SampleSource, work: Work, steps: range) -> None:
        self.query = query
        self.source = source
        self.work = work
        self.steps = steps
        """Times in milliseconds at which nodes are evaluated."""
        self._states: dict[nodes.Node, object] = {}

    def vector(self, node: nodes.Node, time: int) -> Evaluating:
        """The samples of a node whose type is vector."""
        return _VECTORS[type(node)](self, node, time)

    def parts(self, node: nodes.Node, time: int) -> selecting.Parts:
        """The samples of a node, some at a time.

        Where there is one step, the series of a selector are let go part by part. Many objects held at once make the
        interpreter look for garbage in all of the host's memory, for tens of milliseconds.
        """
        single = len(self.steps) == 1
        if single and isinstance(node, nodes.VectorSelector):
            yield from selecting.instant_parts(self, node, time)
        elif single and isinstance(node, nodes.Call) and calls.has_parts(node):
            yield from calls.range_parts(self, node, time)
        else:
            yield from pieces((yield from self.vector(node, time)))

    def scalar(self, node: nodes.Node, time: int) -> EvaluatingScalar:
        """The value of a node whose type is scalar."""
        if isinstance(node, nodes.Call):
            return (yield from calls.scalar(self, node, time))
        if isinstance(node, nodes.Binary):
            return (yield from operators.scalar(self, node, time))
        if isinstance(node, nodes.Negation):
            return -(yield from self.scalar(node.expression, time))
        return cast("nodes.Number", node).value

    def scalars(self, call: nodes.Call, time: int) -> Generator[None, None, list[float]]:
        """The values of a call's arguments whose type is scalar."""
        values = []
        for argument in call.arguments:
            if argument.type == "scalar":
                value = yield from self.scalar(argument, time)
                values.append(value)
        return values

    def state(self, node: nodes.Node, make: Callable[[], StateT]) -> StateT:
        """State of the node that lasts from step to step."""
        state = self._states.get(node)
        if state is None:
            state = self._states[node] = make()
        return cast("StateT", state)

    def mapped(self, node: nodes.Node, vector: Vector, function: Callable[[float], float]) -> Evaluating:
        """Samples with the function's results for values, and labels without the metric's name."""
        nameless = self.state(node, lambda: Remembered(drop_name))
        result = yield from changed(
            vector, lambda piece: [(nameless[labels], function(value)) for labels, value in piece]
        )
        return (yield from unique(result))

    def over(self, steps: range) -> Evaluator:
        """An evaluator of the same query at other steps."""
        self.work.check_steps(steps)
        return Evaluator(self.query, self.source, self.work, steps)

    def series_of(self, node: nodes.Node) -> Generator[None, None, list[Series]]:
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
        items = list(found.items())
        return (yield from changed(items, lambda piece: [Series(labels, *samples) for labels, samples in piece]))


_VECTORS: Final[dict[type, Callable[[Evaluator, Any, int], Evaluating]]] = {
    nodes.VectorSelector: selecting.instant,
    nodes.Binary: operators.vector,
    nodes.Aggregation: aggregate.aggregation,
    nodes.Call: lambda evaluator, call, time: calls.VECTOR_FUNCTIONS[call.function](evaluator, call, time),
    nodes.Negation: operators.negated,
}
