"""Operators between two expressions."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.promql.labels import Remembered, Vector
from ordinaut_ext_observability.promql.matching import Compute, Keeps, Match, set_operation
from ordinaut_ext_observability.promql.nodes import Binary
from ordinaut_ext_observability.promql.work import pieces

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluator import Evaluating, EvaluatingScalar, Evaluator


def divide(left: float, right: float) -> float:
    """The quotient as IEEE 754 has it: infinite or NaN where the divisor is zero."""
    if right:
        return left / right
    if not left or left != left:  # noqa: PLR0124 - a NaN
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


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
    match = evaluator.state(
        node, lambda: Match(node, evaluator.drop_name, delayed=evaluator.query.delayed_name_removal)
    )
    if node.operator in ("and", "or", "unless"):
        return (yield from set_operation(node, match, samples, others))
    if not (samples and others) and node.matching.fill_left is None and node.matching.fill_right is None:
        return []
    compute, keeps = elementwise(node)
    result = yield from match.operate(samples, others, compute, keeps)
    return (yield from evaluator.checked(result))


def elementwise(node: Binary) -> tuple[Compute, Keeps | None]:
    """What the operator makes of two values, and when it keeps it: None, always."""
    compare = _COMPARISONS.get(node.operator)
    if compare is None:
        return _ARITHMETIC[node.operator], None
    if node.returns_bool:
        return (lambda left, right: 1.0 if compare(left, right) else 0.0), None
    return (lambda left, _right: left), compare


def _with_scalar(evaluator: Evaluator, node: Binary, samples: Vector, number: float, *, swapped: bool) -> Evaluating:
    compute, keeps = elementwise(node)
    result: Vector = []
    if keeps is not None:
        for piece in pieces(samples):
            if swapped:
                result += [sample for sample in piece if keeps(number, sample[1])]
            else:
                result += [sample for sample in piece if keeps(sample[1], number)]
            yield
        return result
    nameless = evaluator.state(node, lambda: Remembered(evaluator.drop_name))
    for piece in pieces(samples):
        if swapped:
            result += [(nameless[labels], compute(number, value)) for labels, value in piece]
        else:
            result += [(nameless[labels], compute(value, number)) for labels, value in piece]
        yield
    return (yield from evaluator.checked(result))
