"""Calls of functions: what evaluates each, by its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final, NamedTuple

from ordinaut_ext_observability.history.series import NAME, Labels, Series
from ordinaut_ext_observability.promql import selecting
from ordinaut_ext_observability.promql.functions import histograms, relabel
from ordinaut_ext_observability.promql.functions.dates import DATE_FUNCTIONS
from ordinaut_ext_observability.promql.functions.numbers import VALUE_FUNCTIONS, ValueFunction, floor, larger, smaller
from ordinaut_ext_observability.promql.functions.over_time import RANGE_FUNCTIONS
from ordinaut_ext_observability.promql.labels import LabelsChange, Vector, drop_name, with_value
from ordinaut_ext_observability.promql.nodes import Call, MatrixSelector, Node, Subquery, VectorSelector
from ordinaut_ext_observability.promql.work import pieces, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluator import Evaluating, EvaluatingScalar, Evaluator

_PIECE: Final = 1_000
"""Samples of ranges between two pauses: a function takes 0.1 to 0.4 µs for each."""
_OF_CALL: Final = 10
"""Samples that take as long as calling a function once."""


def vector(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """The samples that a function gives."""
    if call.function in RANGE_FUNCTIONS:
        return _of_ranges(evaluator, call, time)
    if call.function in VALUE_FUNCTIONS:
        return _of_values(evaluator, call, time, VALUE_FUNCTIONS[call.function])
    if call.function in DATE_FUNCTIONS:
        return _of_dates(evaluator, call, time)
    return _OTHERS[call.function](evaluator, call, time)


def scalar(evaluator: Evaluator, call: Call, time: int) -> EvaluatingScalar:
    """The number that a function gives."""
    if call.function == "scalar":
        samples = yield from evaluator.vector(call.arguments[0], time)
        return samples[0][1] if len(samples) == 1 else math.nan
    return math.pi if call.function == "pi" else time / 1_000


class _Ranges(NamedTuple):
    """The series of a range argument, and the labels of their results."""

    argument: MatrixSelector | Subquery
    series: list[tuple[Labels, Series]]
    unique: bool
    """False: two results have the same labels."""


def _ranges(evaluator: Evaluator, call: Call) -> Generator[None, None, _Ranges]:
    state = evaluator.state(call, list[_Ranges])
    if not state:
        argument = _range_argument(call)
        series = yield from selecting.ranges(evaluator, argument)
        named: LabelsChange = tuple if call.function == "last_over_time" else drop_name
        results: list[tuple[Labels, Series]] = []
        names: set[Labels] = set()
        for piece in pieces(series):
            some = [(named(one.labels), one) for one in piece]
            names.update([labels for labels, _ in some])
            results += some
            yield
        state.append(_Ranges(argument, results, len(names) == len(results)))
    return state[0]


def _range_argument(call: Call) -> MatrixSelector | Subquery:
    return next(node for node in call.arguments if isinstance(node, MatrixSelector | Subquery))


def _of_ranges(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """A function of the samples in a range."""
    function = RANGE_FUNCTIONS[call.function]
    ranges = yield from _ranges(evaluator, call)
    window = selecting.window_at(evaluator, ranges.argument, time)
    window.parameters = yield from evaluator.scalars(call, time)
    result: Vector = []
    shared: object = None
    first = last = work = 0
    for labels, (_, timestamps, values) in ranges.series:
        if timestamps is not shared:
            shared = timestamps
            first, last = window.bounds(timestamps)
            times = timestamps[first:last]
        if first < last:
            value = function(times, values[first:last], window)
            if value is not None:
                result.append((labels, value))
        work += last - first + _OF_CALL
        if work > _PIECE:
            work = 0
            yield
    evaluator.work.count_samples(len(result))
    return result if ranges.unique else (yield from unique(result))


def _of_values(evaluator: Evaluator, call: Call, time: int, function: ValueFunction) -> Evaluating:
    """A function of each value."""
    samples = yield from evaluator.vector(call.arguments[0], time)
    return (yield from evaluator.mapped(call, samples, function))


def _of_dates(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """A part of each value's date, or of the step's."""
    function = DATE_FUNCTIONS[call.function]
    if call.arguments:
        return (yield from _of_values(evaluator, call, time, function))
    return [((), function(time / 1_000))]


def _clamp(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    bounds = yield from evaluator.scalars(call, time)
    lowest = -math.inf if call.function == "clamp_max" else bounds[0]
    highest = math.inf if call.function == "clamp_min" else bounds[-1]
    if highest < lowest:
        return []

    return (yield from _of_values(evaluator, call, time, lambda value: larger(lowest, smaller(highest, value))))


def _round(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """Each value to the nearest multiple, halves up."""
    nearest = (yield from evaluator.scalar(call.arguments[1], time)) if len(call.arguments) > 1 else 1.0
    inverse = 1.0 / nearest if nearest else math.copysign(math.inf, nearest)

    def rounded(value: float) -> float:
        return floor(value * inverse + 0.5) / inverse if inverse else math.nan

    return (yield from _of_values(evaluator, call, time, rounded))


def _vector(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    return [((), (yield from evaluator.scalar(call.arguments[0], time)))]


def _timestamp(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """The time of each sample: its own, where the argument is a selector."""
    argument = call.arguments[0]
    if isinstance(argument, VectorSelector):
        samples = yield from selecting.instant(evaluator, argument, time, stamps=True)
        return (yield from evaluator.mapped(call, samples, float))
    return (yield from _of_values(evaluator, call, time, lambda _: time / 1_000))


def _absent(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    samples = yield from evaluator.vector(call.arguments[0], time)
    return [] if samples else [(_expected_labels(call.arguments[0]), 1.0)]


def _absent_over_time(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    argument = _range_argument(call)
    series = yield from selecting.ranges(evaluator, argument)
    window = selecting.window_at(evaluator, argument, time)
    for piece in pieces(series):
        for _, timestamps, _ in piece:
            first, last = window.bounds(timestamps)
            if first < last:
                return []
        yield
    expected = _expected_labels(argument.selector if isinstance(argument, MatrixSelector) else argument)
    return [(expected, 1.0)]


def _expected_labels(node: Node) -> Labels:
    """The labels that a selector names by their values; those it names twice are left out."""
    labels: Labels = ()
    seen = set()
    if isinstance(node, VectorSelector):
        for matcher in node.matchers:
            if matcher.name != NAME:
                value = matcher.equal_to if matcher.name not in seen else None
                labels = with_value(labels, matcher.name, value or "")
                if value is not None:
                    seen.add(matcher.name)
    return labels


_OTHERS: Final[dict[str, Callable[[Evaluator, Call, int], Evaluating]]] = {
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "clamp": _clamp,
    "clamp_max": _clamp,
    "clamp_min": _clamp,
    "histogram_fraction": histograms.histogram,
    "histogram_quantile": histograms.histogram,
    "label_join": relabel.label_join,
    "label_replace": relabel.label_replace,
    "round": _round,
    "sort": relabel.sort,
    "sort_desc": relabel.sort,
    "timestamp": _timestamp,
    "vector": _vector,
}
