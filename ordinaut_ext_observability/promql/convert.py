"""Turns the library's syntax tree into ours, and checks what the library does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import promql_parser as library

from ordinaut_ext_observability.history.series import NAME
from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.guard import AT_SHIFT_MS, shown
from ordinaut_ext_observability.promql.matchers import LabelMatcher, MatchOperator
from ordinaut_ext_observability.promql.nodes import (
    Aggregation,
    At,
    Binary,
    Call,
    Matching,
    MatrixSelector,
    Negation,
    Node,
    Number,
    String,
    Subquery,
    ValueType,
    VectorSelector,
)
from ordinaut_ext_observability.promql.signatures import AGGREGATIONS, FUNCTIONS, REFUSED

_SET_OPERATORS: Final = frozenset({"and", "or", "unless"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MATCH_OPERATORS: Final[dict[str, MatchOperator]] = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}
_MANY: Final[dict[str, Literal["left", "right"]]] = {
    "VectorMatchCardinality.ManyToOne": "left",
    "VectorMatchCardinality.OneToMany": "right",
}
_KINDS: Final[dict[ValueType, str]] = {
    "scalar": "a scalar",
    "vector": "an instant vector",
    "matrix": "a range vector",
    "string": "a string",
}


def convert(expression: Any) -> Node:
    """The node for an expression of the library, whose times the guard has written.

    Raises:
        BadQueryError: The expression has what Prometheus refuses, or what is not supported here.
    """
    return _CONVERSIONS[type(expression)](expression)


def _number(expression: library.NumberLiteral) -> Node:
    return Number(expression.val)


def _string(expression: library.StringLiteral) -> Node:
    return String(shown(expression.val))


def _parentheses(expression: library.ParenExpr) -> Node:
    return convert(expression.expr)


def _negation(expression: library.UnaryExpr) -> Node:
    negated = convert(expression.expr)
    return Number(-negated.value) if isinstance(negated, Number) else Negation(negated)


def _vector_selector(expression: library.VectorSelector) -> VectorSelector:
    if expression.matchers.or_matchers:
        raise BadQueryError(
            "unexpected 'or' in label matching: Prometheus has none within braces; use a regular expression such as"
            ' {job=~"a|b"}, or `or` between two selectors'
        )
    matchers = tuple(_matcher(matcher) for matcher in expression.matchers.matchers)
    if expression.name is not None:
        matchers = (LabelMatcher(NAME, "=", shown(expression.name)), *matchers)
    if all(matcher.matches("") for matcher in matchers):
        raise BadQueryError('a selector must have a condition that no empty label meets, as {job="api"} or {job=~".+"}')
    return VectorSelector(matchers, _milliseconds(expression.offset), _at(expression.at))


def _matcher(matcher: library.Matcher) -> LabelMatcher:
    (name,) = _labels([matcher.name])
    return LabelMatcher(name, _MATCH_OPERATORS[str(matcher.op)], shown(matcher.value))


def _matrix_selector(expression: library.MatrixSelector) -> Node:
    return MatrixSelector(_vector_selector(expression.vector_selector), _milliseconds(expression.range))


def _subquery(expression: library.SubqueryExpr) -> Node:
    return Subquery(
        convert(expression.expr),
        range_ms=_milliseconds(expression.range),
        step_ms=_milliseconds(expression.step) or None,
        offset_ms=_milliseconds(expression.offset),
        at=_at(expression.at),
    )


def _milliseconds(duration: timedelta | None) -> int:
    return 0 if duration is None else round(duration / _MILLISECOND)


def _at(modifier: library.AtModifier | None) -> At:
    if modifier is None:
        return None
    if modifier.at is not None:
        return _milliseconds(modifier.at - _EPOCH) - AT_SHIFT_MS
    return "start" if modifier.type == library.AtModifierType.Start else "end"


def _call(expression: library.Call) -> Node:
    name = expression.func.name
    if name in REFUSED:
        raise BadQueryError(f"{name}() {REFUSED[name]}")
    if (signature := FUNCTIONS.get(name)) is None:
        raise BadQueryError(f"{name}() is not supported here")
    arguments = tuple(convert(argument) for argument in expression.args)
    least, most = len(signature.arguments) - signature.optional, len(signature.arguments) + signature.repeated
    if not least <= len(arguments) <= most:
        raise BadQueryError(f"{name}() takes {_count(least, most)} arguments, not {len(arguments)}")
    for place, argument in enumerate(arguments):
        expected = signature.arguments[min(place, len(signature.arguments) - 1)]
        _check_type(argument, expected, f"argument {place + 1} of {name}()")
    return Call(name, arguments, signature.returns)


def _count(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _check_type(node: Node, expected: ValueType | None, what: str) -> None:
    if expected is not None and node.type != expected:
        raise BadQueryError(f"{what} must be {_KINDS[expected]}, not {_KINDS[node.type]}")


def _aggregation(expression: library.AggregateExpr) -> Node:
    operator = str(expression.op).strip()
    if operator not in AGGREGATIONS:
        raise BadQueryError(f"{operator}() {REFUSED.get(operator, 'is not supported here')}")
    aggregated = convert(expression.expr)
    _check_type(aggregated, "vector", f"what {operator}() takes together")
    parameter = None if expression.param is None else convert(expression.param)
    if parameter is not None:
        _check_type(parameter, AGGREGATIONS[operator], f"the parameter of {operator}()")
    modifier = expression.modifier
    if modifier is None:
        return Aggregation(operator, aggregated, parameter)
    return Aggregation(
        operator,
        aggregated,
        parameter,
        grouping=_labels(modifier.labels),
        without=modifier.type == library.AggModifierType.Without,
    )


def _binary(expression: library.BinaryExpr) -> Node:
    operator = str(expression.op).strip()
    left, right = convert(expression.lhs), convert(expression.rhs)
    modifier = expression.modifier
    if modifier is None:
        return Binary(operator, left, right)
    matching = _matching(modifier)
    between_vectors = left.type == right.type == "vector"
    if matching.fill_left is not None or matching.fill_right is not None:
        if operator in _SET_OPERATORS:
            raise BadQueryError(f"filling in missing series not allowed for set operator {operator!r}")
        if not between_vectors:
            raise BadQueryError("filling in missing series only allowed between instant vectors")
    return Binary(operator, left, right, matching if between_vectors else Matching(), modifier.return_bool)


def _matching(modifier: library.BinModifier) -> Matching:
    matched = modifier.matching
    fill = modifier.fill_values
    return Matching(
        labels=() if matched is None else _labels(matched.labels),
        on=matched is not None and matched.type == library.LabelModifierType.Include,
        many=_MANY.get(str(modifier.card)),
        include=_labels(modifier.group_labels or []),
        fill_left=fill and fill.lhs,
        fill_right=fill and fill.rhs,
    )


def _labels(names: list[str]) -> tuple[str, ...]:
    if "" in names:
        raise BadQueryError("a label's name must not be empty")
    return tuple(map(shown, names))


_CONVERSIONS: Final[dict[type, Callable[[Any], Node]]] = {
    library.AggregateExpr: _aggregation,
    library.BinaryExpr: _binary,
    library.Call: _call,
    library.MatrixSelector: _matrix_selector,
    library.NumberLiteral: _number,
    library.ParenExpr: _parentheses,
    library.StringLiteral: _string,
    library.SubqueryExpr: _subquery,
    library.UnaryExpr: _negation,
    library.VectorSelector: _vector_selector,
}
