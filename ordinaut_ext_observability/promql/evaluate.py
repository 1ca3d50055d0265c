"""Queries evaluated over a source of samples, part by part.

::

    query = Query(parse("sum(rate(requests_total[5m]))"), start_ms=now_ms, end_ms=now_ms)
    answer = run_to_end(evaluate(query, history, Limits()))

Each node is evaluated at a time by a generator of parts. A scalar is a vector of one sample without labels.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator
from itertools import starmap
from operator import itemgetter
from typing import Any, Final, TypeVar, cast

from ordinaut_ext_observability.history.series import Labels, SampleSource, Series
from ordinaut_ext_observability.promql import aggregate, nodes, operators, selecting
from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.functions import calls
from ordinaut_ext_observability.promql.labels import Vector, drop_name
from ordinaut_ext_observability.promql.query import Answer, Limits, Parts, Paused, Query, Sample, Work, pieces, unique

KeyT = TypeVar("KeyT")
ResultT = TypeVar("ResultT")
StateT = TypeVar("StateT")

Answering = Generator[None, None, Answer]

_REMEMBERED: Final = 10_000
"""Results remembered at a time by each node: `count_values` makes others at every step."""

_by_labels = itemgetter(0)


def evaluate(query: Query, source: SampleSource, limits: Limits) -> Answering:
    """The query's answer. Yields where there may be a pause: at most about a millisecond of work lies between two.

    Raises BadQueryError where the expression has no value over a range, ExecutionError where evaluating failed or
    reached a limit on samples, series or steps, QueryTimeoutError where it took longer than the limit.
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


def _answer(query: Query, source: SampleSource, work: Work) -> Paused[Answer]:
    node, time = query.expression, query.start_ms
    steps = range(time, query.end_ms + 1, query.step_ms) if query.step_ms > 0 else range(time, time + 1)
    evaluator = Evaluator(query, source, work, steps)
    if query.step_ms > 0:
        if node.type not in ("scalar", "vector"):
            kind = "string" if node.type == "string" else "range vector"
            raise BadQueryError(f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector')
        return Answer("matrix", sorted((yield from evaluator.series_of(node)), key=_by_labels))
    if isinstance(node, nodes.String):
        return Answer("string", node.value)
    if isinstance(node, nodes.MatrixSelector | nodes.Subquery):
        window, found = selecting.Window(evaluator, node, time), list[Series]()
        for batch in selecting.ranges(evaluator, node):
            found += window.cut(batch)
            yield ()
        return Answer("matrix", sorted(found, key=_by_labels))
    samples: list[Sample] = []
    for part in evaluator.parts(node, time):
        samples += starmap(Sample, part)
        yield ()
    work.check_series(len(samples))
    return Answer("scalar", samples[0].value) if node.type == "scalar" else Answer("vector", samples)


class Evaluator:
    """Evaluates nodes at the steps of a query or of a subquery."""

    def __init__(self, query: Query, source: SampleSource, work: Work, steps: range) -> None:
        """`steps` are the times in milliseconds at which nodes are evaluated."""
        work.check_steps(steps)
        self.query = query
        self.source = source
        self.work = work
        self.steps = steps
        self._states: dict[object, object] = {}

    def parts(self, node: nodes.Node, time: int) -> Parts:
        """The samples of a node whose type is vector or scalar."""
        return _PARTS[type(node)](self, node, time)

    def vector(self, node: nodes.Node, time: int) -> Paused[Vector]:
        """The same samples, all of them."""
        result: Vector = []
        for part in self.parts(node, time):
            result += part
            yield ()
        return result

    def scalar(self, node: nodes.Node, time: int) -> Paused[float]:
        """The value of a node whose type is scalar."""
        [(_, value)] = yield from self.vector(node, time)
        return value

    def scalars(self, call: nodes.Call, time: int) -> Paused[list[float]]:
        """The values of a call's arguments whose type is scalar."""
        values = []
        for argument in call.arguments:
            if argument.type == "scalar":
                value = yield from self.scalar(argument, time)
                values.append(value)
        return values

    def state(self, key: object, make: Callable[[], StateT]) -> StateT:
        """State of a node, or of what else is the key, that lasts from step to step."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = make()
        return cast("StateT", state)

    def remembered(self, key: object, function: Callable[[KeyT], ResultT]) -> Callable[[KeyT], ResultT]:
        """A function of labels, called once for each series however many steps there are."""
        return function if len(self.steps) == 1 else self.state(key, lambda: _Remembered(function)).__getitem__

    def mapped(self, node: nodes.Node, parts: Parts, function: Callable[[float], float]) -> Parts:
        """Samples with the function's results for values, and labels without the metric's name."""
        nameless = self.remembered(node, drop_name)
        return unique([(nameless(labels), function(value)) for labels, value in part] for part in parts)

    def series_of(self, node: nodes.Node) -> Paused[list[Series]]:
        """The node's value at all steps."""
        found: dict[Labels, tuple[array[int], array[float]]] = {}
        for time in self.steps:
            for part in unique(self.parts(node, time)):
                self.work.count_samples(len(part))
                for labels, value in part:
                    samples = found.get(labels)
                    if samples is None:
                        samples = found[labels] = (array("q"), array("d"))
                    samples[0].append(time)
                    samples[1].append(value)
                yield ()
            self.work.check_series(len(found))
        result: list[Series] = []
        for piece in pieces(list(found.items())):
            result += [Series(labels, *samples) for labels, samples in piece]
            yield ()
        return result


class _Remembered(dict[KeyT, ResultT]):
    """A function's results by its argument, made once for each as long as there are not too many."""

    def __init__(self, function: Callable[[KeyT], ResultT]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: KeyT) -> ResultT:
        if len(self) >= _REMEMBERED:
            self.clear()
        result = self[key] = self._function(key)
        return result


_PARTS: Final[dict[type, Callable[[Evaluator, Any, int], Parts]]] = {
    nodes.Number: lambda _evaluator, number, _time: iter([[((), number.value)]]),
    nodes.VectorSelector: selecting.instant,
    nodes.Binary: operators.binary,
    nodes.Aggregation: aggregate.aggregation,
    nodes.Call: lambda evaluator, call, time: calls.FUNCTIONS[call.function](evaluator, call, time),
}
