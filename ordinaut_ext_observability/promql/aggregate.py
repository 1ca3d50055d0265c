"""Aggregations: series of a vector taken together by the values of some labels."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.functions.values import STATISTICS, Statistic, quantile
from ordinaut_ext_observability.promql.labels import LabelsChange, Vector, grouping, with_value
from ordinaut_ext_observability.promql.nodes import Aggregation, String
from ordinaut_ext_observability.promql.query import Parts, Paused, pieces
from ordinaut_ext_observability.promql.times import format_value

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

_BY_VALUES: Final[dict[str, Statistic]] = {**STATISTICS, "count_values": STATISTICS["count"], "group": lambda _: 1.0}
AGGREGATIONS: Final = frozenset((*_BY_VALUES, "bottomk", "quantile", "topk"))
"""Names of those that are supported: all but Prometheus's experimental ones."""
_LARGEST_COUNT: Final = 2.0**63  # bound on the number of `topk`: Prometheus's is a 64-bit integer


def aggregation(evaluator: Evaluator, node: Aggregation, time: int) -> Parts:
    """One sample for each group of series; of `topk` and `bottomk` some samples of each."""
    names, parts = set(node.grouping), evaluator.parts(node.expression, time)
    number = 0.0
    if isinstance(node.parameter, String):
        parts = _with_value_label(node.parameter.value, parts)
        if not node.without:
            names.add(node.parameter.value)
    elif node.parameter is not None:
        number = yield from evaluator.scalar(node.parameter, time)
    group_of = evaluator.remembered(node, grouping(names, kept=not node.without))
    if node.operator in ("topk", "bottomk"):
        yield from _extremes(node.operator, number, group_of, parts)
        return
    groups: defaultdict[Labels, list[float]] = defaultdict(list)
    for part in parts:
        for labels, value in part:
            groups[group_of(labels)].append(value)
        yield ()
    function = partial(quantile, number) if node.operator == "quantile" else _BY_VALUES[node.operator]
    for piece in pieces(list(groups.items())):
        yield [(labels, function(values)) for labels, values in piece]


def _extremes(operator: str, number: float, group_of: LabelsChange, parts: Parts) -> Parts:
    """The samples with the largest or smallest values of each group, NaNs last; the first ones of equals."""
    if number != number:  # noqa: PLR0124 - a NaN
        raise ExecutionError("Parameter value is NaN")
    if number >= _LARGEST_COUNT:
        raise ExecutionError(f"Scalar value {number!r} overflows int64".replace("inf", "+Inf"))
    groups: defaultdict[Labels, Vector] = defaultdict(list)
    for part in parts:
        for sample in part:
            groups[group_of(sample[0])].append(sample)
        yield ()
    for samples in groups.values():
        ordered = yield from by_value(samples, descending=operator == "topk")
        yield ordered[: int(max(0.0, number))]


def by_value(vector: Vector, *, descending: bool) -> Paused[Vector]:
    """The samples in the order of their values, NaNs last; those of equal values in the order they have."""
    numbers: Vector = []
    others: Vector = []
    for piece in pieces(vector):
        for sample in piece:
            (numbers if sample[1] == sample[1] else others).append(sample)
        yield ()
    numbers.sort(key=itemgetter(1), reverse=descending)
    yield ()
    return numbers + others


def _with_value_label(label: str, parts: Parts) -> Parts:
    """The samples, each series with its value as a label."""
    if not label:
        raise ExecutionError('invalid label name ""')
    for part in parts:
        yield [(with_value(labels, label, format_value(value, exponents=False)), value) for labels, value in part]
