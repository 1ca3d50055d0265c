"""Operators between two expressions, whose series find each other by the labels they have in common."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels, value_of
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.functions.values import defined, divide
from ordinaut_ext_observability.promql.labels import LabelsChange, Vector, drop_name, grouping, with_value
from ordinaut_ext_observability.promql.nodes import Binary, Matching
from ordinaut_ext_observability.promql.query import Parts, Paused, pieces, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

Compute = Callable[[float, float], float]
Keeps = Callable[[float, float], bool]

_Sample = tuple[Labels, float]


def _power(base: float, exponent: float) -> float:
    odd = math.fmod(exponent, 2.0) in (1.0, -1.0) if math.isfinite(exponent) else False
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and odd else math.inf
    except ValueError:  # zero to a negative power, or a negative base with a broken exponent
        if base:
            return math.nan
        return math.copysign(math.inf, base) if odd else math.inf


_ARITHMETIC: Final[dict[str, Compute]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "%": defined(math.fmod),
    "^": _power,
    "atan2": math.atan2,
}
_COMPARISONS: Final[dict[str, Keeps]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def binary(evaluator: Evaluator, node: Binary, time: int) -> Parts:
    """What an operator makes of two vectors, or of numbers."""
    matching = node.matching
    if "scalar" in (node.left.type, node.right.type):
        yield from _with_number(evaluator, node, time)
        return
    keys = evaluator.remembered(node, grouping(matching.labels, kept=matching.on))
    left = yield from evaluator.vector(node.left, time)
    right = yield from evaluator.vector(node.right, time)
    if node.operator in ("and", "or", "unless"):
        count = 0
        for part in _set_operation(node.operator, keys, left, right):
            count += len(part)
            evaluator.work.check_series(count)
            yield part
    elif (left and right) or (matching.fill_left, matching.fill_right) != (None, None):
        yield from unique(_between_vectors(evaluator, node, keys, left, right))


def _functions(node: Binary) -> tuple[Compute, Keeps | None]:
    """The operator's result for two values, and its condition for keeping it; None where it keeps all."""
    compare = _COMPARISONS.get(node.operator)
    if compare is None:
        return _ARITHMETIC[node.operator], None
    if node.returns_bool:
        return (lambda left, right: 1.0 if compare(left, right) else 0.0), None
    return (lambda left, _right: left), compare


def _with_number(evaluator: Evaluator, node: Binary, time: int) -> Parts:
    """An operator's results for a number on one side and each sample on the other."""
    is_left = node.left.type == "scalar"
    number = yield from evaluator.scalar(node.left if is_left else node.right, time)
    parts = evaluator.parts(node.right if is_left else node.left, time)
    compute, keeps = _functions(node)
    function: Callable[[float, float], float] = keeps or compute
    of_value: Callable[[float], float] = partial(function, number) if is_left else lambda value: function(value, number)
    if keeps is None:
        yield from evaluator.mapped(node, parts, of_value)
        return
    for part in parts:
        yield [sample for sample in part if of_value(sample[1])]


def _set_operation(operator: str, keys: LabelsChange, left: Vector, right: Vector) -> Parts:
    """The union of two vectors, or the series of the left one that the right one has, or has not."""
    union, found = operator == "or", operator == "and"
    present: set[Labels] = set()
    for part in pieces(left if union else right):
        present.update([keys(labels) for labels, _ in part])
        yield part if union else ()
    for part in pieces(right if union else left):
        yield [sample for sample in part if (keys(sample[0]) in present) is found]


def _between_vectors(evaluator: Evaluator, node: Binary, keys: LabelsChange, left: Vector, right: Vector) -> Parts:
    """The operator's results for all two series that match.

    Raises ExecutionError, in Prometheus's words, where a series finds several others and may find one.
    """
    matching, swapped = node.matching, node.matching.many == "right"
    many, one = (right, left) if swapped else (left, right)
    ones = yield from _by_key(one, keys, "left" if swapped else "right")
    compute, keeps = _functions(node)
    labels_of = evaluator.remembered((node, _combined), partial(_combined, node))
    matched: dict[Labels, set[Labels]] = {}
    for pairs in _pairs(many, ones, keys, matching):
        part: Vector = []
        for key, (labels, value), (other_labels, other) in pairs:
            combined = labels_of((labels, other_labels))
            results = matched.get(key)
            if results is None:
                matched[key] = {combined}
            elif matching.many is None:
                reason = "many-to-one matching must be explicit (group_left/group_right)"
                raise ExecutionError(f"multiple matches for labels: {reason}")
            elif combined in results:
                raise ExecutionError("multiple matches for labels: grouping labels must ensure unique matches")
            else:
                results.add(combined)
            first, second = (other, value) if swapped else (value, other)
            if keeps is None or keeps(first, second):
                part.append((combined, compute(first, second)))
        yield part


def _by_key(vector: Vector, keys: LabelsChange, side: str) -> Paused[dict[Labels, _Sample]]:
    """The samples of the side with one series for each key."""
    found: dict[Labels, _Sample] = {}
    for piece in pieces(vector):
        for sample in piece:
            key = keys(sample[0])
            other = found.setdefault(key, sample)
            if other is not sample:
                first, second = sorted((_text_of(sample[0]), _text_of(other[0])))
                raise ExecutionError(
                    f"found duplicate series for the match group {_text_of(key)} on the {side} hand-side of the "
                    f"operation: [{first}, {second}];many-to-many matching not allowed: "
                    "matching labels must be unique on one side"
                )
        yield ()
    return found


def _pairs(
    many: Vector, ones: dict[Labels, _Sample], keys: LabelsChange, matching: Matching
) -> Iterator[list[tuple[Labels, _Sample, _Sample]]]:
    """Keys and their two samples, that of the side with many first; a fill stands for one that is missing."""
    # The right fill stands for the one side with group_right too: so it is in Prometheus.
    fill_many, fill_one = matching.fill_left, matching.fill_right
    matched: set[Labels] = set()
    for piece in pieces(many):
        pairs = []
        for sample in piece:
            key = keys(sample[0])
            other = ones.get(key)
            if other is not None:
                matched.add(key)
                pairs.append((key, sample, other))
            elif fill_one is not None:
                pairs.append((key, sample, (key, fill_one)))
        yield pairs
    if fill_many is not None:
        yield [(key, (key, fill_many), sample) for key, sample in ones.items() if key not in matched]


def _combined(node: Binary, pair: tuple[Labels, Labels]) -> Labels:
    """The labels of the result of two series, that of the many side first."""
    labels, one = pair
    matching = node.matching
    if node.operator in _ARITHMETIC or node.returns_bool:
        labels = drop_name(labels)
    if matching.many is None:
        labels = tuple([label for label in labels if (label[0] in matching.labels) is matching.on])
    for name in matching.include:
        labels = with_value(labels, name, value_of(one, name))
    return labels


def _text_of(labels: Labels) -> str:
    """The labels as messages have them: `{job="api"}`."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"
