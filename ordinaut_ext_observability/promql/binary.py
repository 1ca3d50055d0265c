"""Operators between two expressions."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from ordinaut_ext_observability.promql.labels import LabelsChange, Vector, drop_name
from ordinaut_ext_observability.promql.matching import Compute, Keeps, Match, set_operation
from ordinaut_ext_observability.promql.nodes import Binary
from ordinaut_ext_observability.promql.statistics import divide
from ordinaut_ext_observability.promql.work import pieces, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluator import Evaluating, EvaluatingScalar, Evaluator


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


ResultT = TypeVar("ResultT")

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


def scalar(evaluator: Evaluator, node: Binary, time: int) -> EvaluatingScalar:
    """The number that two numbers give."""
    left = yield from evaluator.scalar(node.left, time)
    right = yield from evaluator.scalar(node.right, time)
    compare = _COMPARISONS.get(node.operator)
    if compare is not None:
        return 1.0 if compare(left, right) else 0.0
    return _ARITHMETIC[node.operator](left, right)


def vector(evaluator: Evaluator, node: Binary, time: int) -> Evaluating:
    """The vector that two expressions give, of which at least one is a vector."""
    if node.left.type == "scalar":
        left = yield from evaluator.scalar(node.left, time)
        samples = yield from evaluator.vector(node.right, time)
        return (yield from _with_scalar(evaluator, node, samples, left, swapped=True))
    samples = yield from evaluator.vector(node.left, time)
    if node.right.type == "scalar":
        right = yield from evaluator.scalar(node.right, time)
        return (yield from _with_scalar(evaluator, node, samples, right, swapped=False))
    others = yield from evaluator.vector(node.right, time)
    match = evaluator.state(node, lambda: Match(node.matching, _renaming(node)))
    if node.operator in ("and", "or", "unless"):
        result = yield from set_operation(node.operator, match, samples, others)
        evaluator.work.check_series(len(result))
        return result
    if not (samples and others) and node.matching.fill_left is None and node.matching.fill_right is None:
        return []
    compute, keeps = _elementwise(node)
    result = yield from match.operate(samples, others, compute, keeps)
    return (yield from unique(result))


def _renaming(node: Binary) -> LabelsChange | None:
    """Change that the operator makes to a metric's name; None where its values are still the metric's."""
    if node.operator in _COMPARISONS:
        return drop_name if node.returns_bool else None
    return drop_name


def _elementwise(node: Binary) -> tuple[Compute, Keeps | None]:
    """The operator's result for two values, and its condition for keeping it; None where it keeps all."""
    compare = _COMPARISONS.get(node.operator)
    if compare is None:
        return _ARITHMETIC[node.operator], None
    if node.returns_bool:
        return (lambda left, right: 1.0 if compare(left, right) else 0.0), None
    return (lambda left, _right: left), compare


def _with_number(
    function: Callable[[float, float], ResultT], number: float, *, swapped: bool
) -> Callable[[float], ResultT]:
    return partial(function, number) if swapped else lambda value: function(value, number)


def _with_scalar(evaluator: Evaluator, node: Binary, samples: Vector, number: float, *, swapped: bool) -> Evaluating:
    compute, keeps = _elementwise(node)
    if keeps is None:
        return (yield from evaluator.mapped(node, samples, _with_number(compute, number, swapped=swapped)))
    keep = _with_number(keeps, number, swapped=swapped)
    result: Vector = []
    for piece in pieces(samples):
        result += [sample for sample in piece if keep(sample[1])]
        yield
    return result
