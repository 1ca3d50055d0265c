"""Queries evaluated over a source of samples, piece by piece.

::

    query = Query(parse("sum(rate(requests_total[5m]))"), start_ms=now_ms, end_ms=now_ms)
    answer = run_to_end(evaluate(query, history, Limits()))
"""

from __future__ import annotations

from collections.abc import Generator

from ordinaut_ext_observability.history.series import Labels, SampleSource, Series
from ordinaut_ext_observability.promql import selecting
from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.evaluator import Evaluator
from ordinaut_ext_observability.promql.nodes import MatrixSelector, Node, String, Subquery
from ordinaut_ext_observability.promql.query import Answer, Limits, Query, Sample
from ordinaut_ext_observability.promql.work import Work, pieces

Answering = Generator[None, None, Answer]


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
    if query.step_ms <= 0:
        return (yield from _instant(Evaluator(query, source, work, range(query.start_ms, query.start_ms + 1)), query))
    steps = range(query.start_ms, query.end_ms + 1, query.step_ms)
    work.check_steps(steps)
    if query.expression.type not in ("scalar", "vector"):
        kind = "string" if query.expression.type == "string" else "range vector"
        raise BadQueryError(f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector')
    evaluator = Evaluator(query, source, work, steps)
    series = yield from evaluator.series_of(query.expression)
    return Answer("matrix", sorted(series, key=_labels))


def _instant(evaluator: Evaluator, query: Query) -> Answering:
    node, time = query.expression, query.start_ms
    if isinstance(node, String):
        return Answer("string", node.value)
    if node.type == "scalar":
        return Answer("scalar", (yield from evaluator.scalar(node, time)))
    if node.type == "matrix":
        return Answer("matrix", (yield from _matrix(evaluator, node, time)))
    vector = yield from evaluator.vector(node, time)
    evaluator.work.check_series(len(vector))
    samples: list[Sample] = []
    for piece in pieces(vector):
        samples += [Sample(labels, value) for labels, value in piece]
        yield
    return Answer("vector", samples)


def _matrix(evaluator: Evaluator, node: Node, time: int) -> Generator[None, None, list[Series]]:
    """The samples of a range selector or subquery that is the whole query."""
    assert isinstance(node, MatrixSelector | Subquery)  # noqa: S101 - no other node has this type
    series = yield from selecting.ranges(evaluator, node)
    window = selecting.window_at(evaluator, node, time)
    found = []
    for piece in pieces(series):
        for labels, timestamps, values in piece:
            first, last = window.bounds(timestamps)
            if first < last:
                found.append(Series(labels, timestamps[first:last], values[first:last]))
        yield
    return sorted(found, key=_labels)


def _labels(series: Series) -> Labels:
    return series.labels
