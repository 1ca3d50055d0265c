"""Aggregations: series of a vector taken together by the values of some labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.labels import (
    Remembered,
    Vector,
    only,
    with_value,
    without,
)
from ordinaut_ext_observability.promql.nodes import Aggregation, String
from ordinaut_ext_observability.promql.statistics import deviation, largest, mean, quantile, smallest, total, variance
from ordinaut_ext_observability.promql.work import changed, pieces

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluating, Evaluator

_BY_VALUES: Final[dict[str, Callable[[list[float]], float]]] = {
    "sum": total,
    "avg": mean,
    "min": smallest,
    "max": largest,
    "count": lambda values: float(len(values)),
    "count_values": lambda values: float(len(values)),
    "group": lambda _: 1.0,
    "stddev": deviation,
    "stdvar": variance,
}
AGGREGATIONS: Final = frozenset((*_BY_VALUES, "bottomk", "quantile", "topk"))
"""Names of those that are supported: all but Prometheus's experimental ones."""
_LARGEST_COUNT: Final = 2.0**63
"""Bound on the number of `topk`: Prometheus's is a 64-bit integer."""


def aggregation(evaluator: Evaluator, node: Aggregation, time: int) -> Evaluating:
    """One sample for each group of series; of `topk` and `bottomk` some samples of each."""
    vector = yield from evaluator.vector(node.expression, time)
    if node.operator == "count_values":
        vector = yield from _with_value_label(node, vector)
    group_of = evaluator.state(node, lambda: Remembered(_grouping(node)))
    number = 0.0
    if node.parameter is not None and node.parameter.type == "scalar":
        number = yield from evaluator.scalar(node.parameter, time)
    if node.operator in ("topk", "bottomk"):
        return (yield from _extremes(node.operator, number, group_of, vector))
    function = partial(quantile, number) if node.operator == "quantile" else _BY_VALUES[node.operator]
    groups: dict[Labels, list[float]] = {}
    for piece in pieces(vector):
        for labels, value in piece:
            key = group_of[labels]
            values = groups.get(key)
            if values is None:
                groups[key] = [value]
            else:
                values.append(value)
        yield
    found = list(groups.items())
    return (yield from changed(found, lambda piece: [(labels, function(values)) for labels, values in piece]))


def _grouping(node: Aggregation) -> Callable[[Labels], Labels]:
    names = set(node.grouping)
    if node.without:
        return lambda labels: without(labels, names)
    if isinstance(node.parameter, String):
        names.add(node.parameter.value)
    return (lambda labels: only(labels, names)) if names else (lambda _: ())


def _extremes(operator: str, number: float, group_of: Remembered[Labels, Labels], vector: Vector) -> Evaluating:
    """The samples with the largest or smallest values of each group, NaNs last; the first ones of equals."""
    if number != number:  # noqa: PLR0124 - a NaN
        raise ExecutionError("Parameter value is NaN")
    if number >= _LARGEST_COUNT:
        raise ExecutionError(f"Scalar value {number!r} overflows int64".replace("inf", "+Inf"))
    groups: dict[Labels, Vector] = {}
    for piece in pieces(vector if number >= 1 else []):
        for sample in piece:
            groups.setdefault(group_of[sample[0]], []).append(sample)
        yield
    result: Vector = []
    for samples in groups.values():
        ordered = yield from by_value(samples, descending=operator == "topk")
        result += ordered[: int(number)]
    return result


def by_value(vector: Vector, *, descending: bool) -> Evaluating:
    """The samples in the order of their values, NaNs last; those of equal values in the order they have."""
    numbers = yield from changed(vector, lambda piece: [sample for sample in piece if sample[1] == sample[1]])
    others = yield from changed(vector, lambda piece: [sample for sample in piece if sample[1] != sample[1]])
    numbers.sort(key=itemgetter(1), reverse=descending)
    yield
    return numbers + others


def _with_value_label(node: Aggregation, vector: Vector) -> Evaluating:
    """The vector, each series with its value as a label."""
    label = node.parameter.value if isinstance(node.parameter, String) else ""
    if not label:
        raise ExecutionError(f'invalid label name "{label}"')

    def labelled(piece: Vector) -> Vector:
        return [(with_value(labels, label, _number_text(value)), value) for labels, value in piece]

    return (yield from changed(vector, labelled))


def _number_text(value: float) -> str:
    """The number in as few digits as tell it, without an exponent, as Prometheus writes it into a label."""
    if math.isfinite(value):
        text = format(Decimal(repr(value)), "f")
        return text.removesuffix(".0")
    return "NaN" if value != value else f"{value:+}".replace("inf", "Inf")  # noqa: PLR0124
