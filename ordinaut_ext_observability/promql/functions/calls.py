"""Calls of functions: what evaluates each, by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import NAME, Labels
from ordinaut_ext_observability.promql import selecting
from ordinaut_ext_observability.promql.aggregate import by_value
from ordinaut_ext_observability.promql.functions.samples import RANGE_FUNCTIONS, RangeFunction, histogram
from ordinaut_ext_observability.promql.functions.values import VALUE_FUNCTIONS, ValueFunction, floor, larger, smaller
from ordinaut_ext_observability.promql.labels import Vector, drop_name, relabelled, with_value
from ordinaut_ext_observability.promql.nodes import Call, MatrixSelector, Node, Subquery, VectorSelector
from ordinaut_ext_observability.promql.query import Parts, pieces, unique
from ordinaut_ext_observability.promql.selecting import Batches, Window

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

_PIECE: Final = 1_000  # samples of ranges between two pauses: a function takes 0.1 to 0.4 µs for each
_OF_CALL: Final = 10  # samples that take as long as calling a function once
_KEEP_NAMES: Final = frozenset({"absent_over_time", "last_over_time"})


def _of_ranges(evaluator: Evaluator, call: Call, time: int) -> Parts:
    """A function of the samples in a range."""
    argument = next(node for node in call.arguments if isinstance(node, MatrixSelector | Subquery))
    window = Window(evaluator, argument, time)
    window.parameters = yield from evaluator.scalars(call, time)
    keeps_name = call.function in _KEEP_NAMES
    batches = selecting.ranges(evaluator, argument, None if keeps_name else drop_name)
    parts = _applied(evaluator, RANGE_FUNCTIONS[call.function], window, batches)
    inner = argument.selector if isinstance(argument, MatrixSelector) else argument.expression
    matchers = inner.matchers if isinstance(inner, VectorSelector) else ()
    is_of_one_name = any(matcher.name == NAME and matcher.equal_to for matcher in matchers)
    yield from parts if keeps_name or is_of_one_name else unique(parts)


def _applied(evaluator: Evaluator, function: RangeFunction, window: Window, batches: Batches) -> Parts:
    """The function's results for the samples in the window."""
    shared: object = None
    first = last = work = 0
    for batch in batches:
        part: Vector = []
        for labels, timestamps, values in batch:
            if timestamps is not shared:
                shared = timestamps
                first, last = window.bounds(timestamps)
                times = timestamps[first:last]
            if first < last:
                value = function(times, values[first:last], window)
                if value is not None:
                    part.append((labels, value))
            work += last - first + _OF_CALL
            if work > _PIECE:
                evaluator.work.count_samples(len(part))
                yield part
                part, work = [], 0
        evaluator.work.count_samples(len(part))
        yield part


def _mapped(evaluator: Evaluator, call: Call, time: int, function: ValueFunction) -> Parts:
    return evaluator.mapped(call, evaluator.parts(call.arguments[0], time), function)


def _of_values(evaluator: Evaluator, call: Call, time: int) -> Parts:
    """A function of each value; without an argument, of the step's time in seconds."""
    function = VALUE_FUNCTIONS[call.function]
    return _mapped(evaluator, call, time, function) if call.arguments else iter([[((), function(time / 1_000))]])


def _scalar(evaluator: Evaluator, call: Call, time: int) -> Parts:
    samples = yield from evaluator.vector(call.arguments[0], time)
    yield [((), samples[0][1] if len(samples) == 1 else math.nan)]


def _clamp(evaluator: Evaluator, call: Call, time: int) -> Parts:
    bounds = yield from evaluator.scalars(call, time)
    lowest = -math.inf if call.function == "clamp_max" else bounds[0]
    highest = math.inf if call.function == "clamp_min" else bounds[-1]
    for part in _mapped(evaluator, call, time, lambda value: larger(lowest, smaller(highest, value))):
        yield () if highest < lowest else part


def _round(evaluator: Evaluator, call: Call, time: int) -> Parts:
    """Each value to the nearest multiple, halves up."""
    [nearest] = (yield from evaluator.scalars(call, time)) or [1.0]
    inverse = 1.0 / nearest if nearest else math.copysign(math.inf, nearest)

    def rounded(value: float) -> float:
        return floor(value * inverse + 0.5) / inverse if inverse else math.nan

    yield from _mapped(evaluator, call, time, rounded)


def _sort(evaluator: Evaluator, call: Call, time: int) -> Parts:
    samples = yield from evaluator.vector(call.arguments[0], time)
    yield from pieces((yield from by_value(samples, descending=call.function == "sort_desc")))


def _timestamp(evaluator: Evaluator, call: Call, time: int) -> Parts:
    """The time of each sample: its own, where the argument is a selector."""
    argument = call.arguments[0]
    if isinstance(argument, VectorSelector):
        return evaluator.mapped(call, selecting.instant(evaluator, argument, time, stamps=True), float)
    return _mapped(evaluator, call, time, lambda _: time / 1_000)


def _absent(evaluator: Evaluator, call: Call, time: int) -> Parts:
    argument = call.arguments[0]
    parts = _of_ranges(evaluator, call, time) if argument.type == "matrix" else evaluator.parts(argument, time)
    found = False
    for part in parts:
        found |= bool(part)
        yield ()
    if not found:
        yield [(_expected_labels(argument.selector if isinstance(argument, MatrixSelector) else argument), 1.0)]


def _expected_labels(node: Node) -> Labels:
    """The labels that a selector names by their values; those it names twice are left out."""
    labels: Labels = ()
    seen = set()
    for matcher in node.matchers if isinstance(node, VectorSelector) else ():
        if matcher.name != NAME:
            value = matcher.equal_to if matcher.name not in seen else None
            labels = with_value(labels, matcher.name, value or "")
            if value is not None:
                seen.add(matcher.name)
    return labels


FUNCTIONS: Final[dict[str, Callable[[Evaluator, Call, int], Parts]]] = {
    **dict.fromkeys(VALUE_FUNCTIONS, _of_values),
    **dict.fromkeys(RANGE_FUNCTIONS, _of_ranges),
    **dict.fromkeys(("absent", "absent_over_time"), _absent),
    **dict.fromkeys(("clamp", "clamp_max", "clamp_min"), _clamp),
    **dict.fromkeys(("histogram_fraction", "histogram_quantile"), histogram),
    **dict.fromkeys(("label_join", "label_replace"), relabelled),
    **dict.fromkeys(("sort", "sort_desc"), _sort),
    "round": _round,
    "scalar": _scalar,
    "timestamp": _timestamp,
    "vector": lambda evaluator, call, time: evaluator.parts(call.arguments[0], time),
}
"""Those that are supported: all but Prometheus's experimental ones and those of native histograms."""
