"""Calls of functions: what evaluates each, by its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Final, cast

from ordinaut_ext_observability.history.series import NAME, Labels, Series
from ordinaut_ext_observability.promql import selecting
from ordinaut_ext_observability.promql.aggregate import by_value
from ordinaut_ext_observability.promql.functions.histograms import histogram
from ordinaut_ext_observability.promql.functions.ranges import RANGE_FUNCTIONS, RangeFunction
from ordinaut_ext_observability.promql.functions.relabel import relabelled
from ordinaut_ext_observability.promql.functions.values import VALUE_FUNCTIONS, ValueFunction, floor, larger, smaller
from ordinaut_ext_observability.promql.labels import LabelsChange, Vector, drop_name, with_value
from ordinaut_ext_observability.promql.nodes import Call, MatrixSelector, Node, Subquery, VectorSelector
from ordinaut_ext_observability.promql.work import changed, pieces, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluating, EvaluatingScalar, Evaluator

_PIECE: Final = 1_000
"""Samples of ranges between two pauses: a function takes 0.1 to 0.4 µs for each."""
_OF_CALL: Final = 10
"""Samples that take as long as calling a function once."""
_KEEP_NAMES: Final = frozenset({"absent_over_time", "last_over_time"})


def scalar(evaluator: Evaluator, call: Call, time: int) -> EvaluatingScalar:
    """The number that `scalar(vector)`, `pi()` or `time()` gives."""
    if call.function == "scalar":
        samples = yield from evaluator.vector(call.arguments[0], time)
        return samples[0][1] if len(samples) == 1 else math.nan
    return math.pi if call.function == "pi" else time / 1_000


_Ranges = tuple[MatrixSelector | Subquery, list[tuple[Labels, Series]], bool]
"""A range argument, its series with the labels of their results, and whether no two of these are the same."""


def _ranges(evaluator: Evaluator, call: Call) -> Generator[None, None, _Ranges]:
    state = evaluator.state(call, list[_Ranges])
    if not state:
        argument = next(node for node in call.arguments if isinstance(node, MatrixSelector | Subquery))
        named: LabelsChange = tuple if call.function in _KEEP_NAMES else drop_name
        series = yield from selecting.ranges(evaluator, argument)
        results = yield from changed(series, lambda piece: [(named(one.labels), one) for one in piece])
        names: set[Labels] = set()
        for piece in pieces(results):
            names.update([labels for labels, _ in piece])
            yield
        state.append((argument, results, len(names) == len(results)))
    return state[0]


def _of_ranges(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """A function of the samples in a range."""
    function = RANGE_FUNCTIONS[call.function]
    argument, series, is_unique = yield from _ranges(evaluator, call)
    window = selecting.window_at(evaluator, argument, time)
    window.parameters = yield from evaluator.scalars(call, time)
    result: Vector = []
    for part in _applied(function, window, series):
        result += part or ()
        yield
    evaluator.work.count_samples(len(result))
    return result if is_unique else (yield from unique(result))


def range_parts(evaluator: Evaluator, call: Call, time: int) -> selecting.Parts:
    """The same samples, each series read when it is its turn: no more are held than a part has."""
    argument = cast("MatrixSelector", call.arguments[-1])
    window = selecting.window_at(evaluator, argument, time)
    window.parameters = yield from evaluator.scalars(call, time)
    series = selecting.read(evaluator, argument.selector, argument.range_ms)
    labelled = (one and (drop_name(one.labels), selecting.without_stale(one)) for one in series)
    yield from _applied(RANGE_FUNCTIONS[call.function], window, labelled)


def has_parts(call: Call) -> bool:
    """Tell whether a call is of a function of one metric's ranges, so that no two results have the same labels."""
    argument = call.arguments[-1] if call.arguments else None
    return (
        call.function in RANGE_FUNCTIONS
        and call.function not in _KEEP_NAMES
        and isinstance(argument, MatrixSelector)
        and any(matcher.name == NAME and matcher.equal_to for matcher in argument.selector.matchers)
    )


def _applied(
    function: RangeFunction, window: selecting.Window, ranges: Iterable[tuple[Labels, Series] | None]
) -> selecting.Parts:
    """The function's results, some at a time."""
    part: Vector = []
    shared: object = None
    first = last = work = 0
    for labelled in ranges:
        if labelled is not None:
            labels, (_, timestamps, values) = labelled
            if timestamps is not shared:
                shared = timestamps
                first, last = window.bounds(timestamps)
                times = timestamps[first:last]
            if first < last:
                value = function(times, values[first:last], window)
                if value is not None:
                    part.append((labels, value))
            work += last - first + _OF_CALL
        if work > _PIECE or labelled is None:
            yield part
            part, work = [], 0
    yield part


def _mapped(evaluator: Evaluator, call: Call, time: int, function: ValueFunction) -> Evaluating:
    samples = yield from evaluator.vector(call.arguments[0], time)
    return (yield from evaluator.mapped(call, samples, function))


def _of_values(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """A function of each value, or a part of the step's date."""
    function = VALUE_FUNCTIONS[call.function]
    if call.arguments:
        return (yield from _mapped(evaluator, call, time, function))
    return [((), function(time / 1_000))]


def _clamp(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    bounds = yield from evaluator.scalars(call, time)
    lowest = -math.inf if call.function == "clamp_max" else bounds[0]
    highest = math.inf if call.function == "clamp_min" else bounds[-1]
    clamped = yield from _mapped(evaluator, call, time, lambda value: larger(lowest, smaller(highest, value)))
    return [] if highest < lowest else clamped


def _round(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """Each value to the nearest multiple, halves up."""
    [nearest] = (yield from evaluator.scalars(call, time)) or [1.0]
    inverse = 1.0 / nearest if nearest else math.copysign(math.inf, nearest)

    def rounded(value: float) -> float:
        return floor(value * inverse + 0.5) / inverse if inverse else math.nan

    return (yield from _mapped(evaluator, call, time, rounded))


def _vector(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    return [((), (yield from evaluator.scalar(call.arguments[0], time)))]


def _sort(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    samples = yield from evaluator.vector(call.arguments[0], time)
    return (yield from by_value(samples, descending=call.function == "sort_desc"))


def _timestamp(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """The time of each sample: its own, where the argument is a selector."""
    argument = call.arguments[0]
    if isinstance(argument, VectorSelector):
        samples = yield from selecting.instant(evaluator, argument, time, stamps=True)
        return (yield from evaluator.mapped(call, samples, float))
    return (yield from _mapped(evaluator, call, time, lambda _: time / 1_000))


def _absent(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    argument = call.arguments[0]
    if argument.type == "matrix":
        samples = yield from _of_ranges(evaluator, call, time)
    else:
        samples = yield from evaluator.vector(argument, time)
    expected = _expected_labels(argument.selector if isinstance(argument, MatrixSelector) else argument)
    return [] if samples else [(expected, 1.0)]


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


VECTOR_FUNCTIONS: Final[dict[str, Callable[[Evaluator, Call, int], Evaluating]]] = {
    **dict.fromkeys(VALUE_FUNCTIONS, _of_values),
    **dict.fromkeys(RANGE_FUNCTIONS, _of_ranges),
    **dict.fromkeys(("absent", "absent_over_time"), _absent),
    **dict.fromkeys(("clamp", "clamp_max", "clamp_min"), _clamp),
    **dict.fromkeys(("histogram_fraction", "histogram_quantile"), histogram),
    **dict.fromkeys(("label_join", "label_replace"), relabelled),
    **dict.fromkeys(("sort", "sort_desc"), _sort),
    "round": _round,
    "timestamp": _timestamp,
    "vector": _vector,
}
FUNCTIONS: Final = frozenset((*VECTOR_FUNCTIONS, "pi", "scalar", "time"))
"""Names of those that are supported: all but Prometheus's experimental ones and those of native histograms."""
