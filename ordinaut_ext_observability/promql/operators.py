"""Operators between two expressions, whose series find each other by the labels they have in common."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.labels import Remembered, Vector, drop_name, only, value_of, with_value, without
from ordinaut_ext_observability.promql.nodes import Binary
from ordinaut_ext_observability.promql.statistics import divide
from ordinaut_ext_observability.promql.work import Parts, Paused, pieces, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

Compute = Callable[[float, float], float]
Keeps = Callable[[float, float], bool]
ResultT = TypeVar("ResultT")

_Sample = tuple[Labels, float]
_Pair = tuple[Labels, _Sample, _Sample]
"""Labels that two series have in common, and their samples: that of the side with many first."""


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


def _remainder(left: float, right: float) -> float:
    try:
        return math.fmod(left, right)
    except ValueError:
        return math.nan


_ARITHMETIC: Final[dict[str, Compute]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "%": _remainder,
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
    if "scalar" in (node.left.type, node.right.type):
        return _with_scalar(evaluator, node, time)
    return evaluator.state(node, lambda: _Match(node)).between(evaluator, time)


def _functions(node: Binary) -> tuple[Compute, Keeps | None]:
    """The operator's result for two values, and its condition for keeping it; None where it keeps all."""
    compare = _COMPARISONS.get(node.operator)
    if compare is None:
        return _ARITHMETIC[node.operator], None
    if node.returns_bool:
        return (lambda left, right: 1.0 if compare(left, right) else 0.0), None
    return (lambda left, _right: left), compare


def _with_scalar(evaluator: Evaluator, node: Binary, time: int) -> Parts:
    """An operator's results for a number on one side and each sample on the other."""
    is_left = node.left.type == "scalar"
    number = yield from evaluator.scalar(node.left if is_left else node.right, time)
    parts = evaluator.parts(node.right if is_left else node.left, time)

    def with_number(function: Callable[[float, float], ResultT]) -> Callable[[float], ResultT]:
        return partial(function, number) if is_left else lambda value: function(value, number)

    compute, keeps = _functions(node)
    if keeps is None:
        yield from evaluator.mapped(node, parts, with_number(compute))
        return
    keep = with_number(keeps)
    for part in parts:
        yield [sample for sample in part if keep(sample[1])]


class _Match:
    """The matching of one operator: which labels two series share, and which their result has."""

    def __init__(self, node: Binary) -> None:
        self._node = node
        self._matching = matching = node.matching
        names = frozenset(matching.labels)
        common = only if matching.on else without
        self._keys = Remembered[Labels, Labels](lambda labels: common(labels, names))
        """The labels by which a series is found, by its own."""
        self._results = Remembered[tuple[Labels, Labels], Labels](self._combined)

    def between(self, evaluator: Evaluator, time: int) -> Parts:
        """The operator's results for two vectors."""
        node, fills = self._node, (self._matching.fill_left, self._matching.fill_right)
        left = yield from evaluator.vector(node.left, time)
        right = yield from evaluator.vector(node.right, time)
        if node.operator in ("and", "or", "unless"):
            count = 0
            for part in self._set_operation(left, right):
                count += len(part)
                evaluator.work.check_series(count)
                yield part
        elif (left and right) or fills != (None, None):
            yield from unique(self._operate(left, right))

    def _operate(self, left: Vector, right: Vector) -> Parts:
        """The operator's results for all two series that match.

        Raises:
            ExecutionError: A series finds several others where it may find one; in Prometheus's words.
        """
        swapped = self._matching.many == "right"
        many, one = (right, left) if swapped else (left, right)
        ones = yield from self._by_key(one, "left" if swapped else "right")
        pairs = yield from self._pairs(many, ones)
        compute, keeps = _functions(self._node)
        matched: dict[Labels, set[Labels]] = {}
        for piece in pieces(pairs):
            part: Vector = []
            for key, (labels, value), (other_labels, other) in piece:
                combined = self._results[labels, other_labels]
                self._note(matched, key, combined)
                first, second = (other, value) if swapped else (value, other)
                if keeps is None or keeps(first, second):
                    part.append((combined, compute(first, second)))
            yield part

    def _pairs(self, many: Vector, ones: dict[Labels, _Sample]) -> Paused[list[_Pair]]:
        # The right fill stands for the one side with group_right too: so it is in Prometheus.
        fill_many, fill_one = self._matching.fill_left, self._matching.fill_right
        pairs: list[_Pair] = []
        for piece in pieces(many):
            for sample in piece:
                key = self._keys[sample[0]]
                other = ones.get(key)
                if other is not None:
                    pairs.append((key, sample, other))
                elif fill_one is not None:
                    pairs.append((key, sample, (key, fill_one)))
            yield ()
        if fill_many is not None:
            matched = {key for key, _, _ in pairs}
            pairs += [(key, (key, fill_many), sample) for key, sample in ones.items() if key not in matched]
        return pairs

    def _by_key(self, vector: Vector, side: str) -> Paused[dict[Labels, _Sample]]:
        found: dict[Labels, _Sample] = {}
        for piece in pieces(vector):
            for sample in piece:
                other = found.setdefault(self._keys[sample[0]], sample)
                if other is not sample:
                    first, second = sorted((_text_of(sample[0]), _text_of(other[0])))
                    raise ExecutionError(
                        f"found duplicate series for the match group {_text_of(self._keys[sample[0]])} on the {side} "
                        f"hand-side of the operation: [{first}, {second}];many-to-many matching not allowed: "
                        "matching labels must be unique on one side"
                    )
            yield ()
        return found

    def _note(self, matched: dict[Labels, set[Labels]], key: Labels, combined: Labels) -> None:
        """Note a match; refuse one that may not be."""
        results = matched.get(key)
        if results is None:
            matched[key] = {combined}
        elif self._matching.many is None:
            raise ExecutionError(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
        elif combined in results:
            raise ExecutionError("multiple matches for labels: grouping labels must ensure unique matches")
        else:
            results.add(combined)

    def _combined(self, pair: tuple[Labels, Labels]) -> Labels:
        """The labels of the result of two series, that of the many side first."""
        labels, one = pair
        matching = self._matching
        if self._node.operator in _ARITHMETIC or self._node.returns_bool:
            labels = drop_name(labels)
        if matching.many is None:
            labels = tuple(label for label in labels if (label[0] in matching.labels) is matching.on)
        for name in matching.include:
            labels = with_value(labels, name, value_of(one, name))
        return labels

    def _set_operation(self, left: Vector, right: Vector) -> Parts:
        """The union of two vectors, or the series of the left one that the right one has, or has not."""
        union, keys = self._node.operator == "or", self._keys
        present: set[Labels] = set()
        for part in pieces(left if union else right):
            present.update([keys[labels] for labels, _ in part])
            yield part if union else ()
        found = self._node.operator == "and"
        for part in pieces(right if union else left):
            yield [sample for sample in part if (keys[sample[0]] in present) is found]


def _text_of(labels: Labels) -> str:
    """The labels as messages have them: `{job="api"}`."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"
