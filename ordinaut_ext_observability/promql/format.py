"""Writes queries as Prometheus formats them: in one line where that is short, else a part to a line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from ordinaut_ext_observability.history.series import NAME
from ordinaut_ext_observability.promql.guard import UNITS_MS
from ordinaut_ext_observability.promql.matchers import label_name, quoted
from ordinaut_ext_observability.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Matching,
    MatrixSelector,
    Negation,
    Node,
    Number,
    String,
    Subquery,
    VectorSelector,
)
from ordinaut_ext_observability.promql.parse import parse

_LINE: Final = 100
"""Characters of a line that is not split: Prometheus's own bound."""

_BINDING: Final = {
    operator: strength
    for strength, operators in enumerate(("or", "and unless", "== != > < >= <=", "+ -", "* / % atan2", "^"))
    for operator in operators.split()
}
_MINUS, _POWER, _ATOM = _BINDING["*"], _BINDING["^"], _BINDING["^"] + 1

_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def format_query(text: str) -> str:
    """The query in Prometheus's layout: `format_query("sum(x)by(job)>0")` is `sum by (job) (x) > 0`.

    Comments and brackets that change nothing are left out.

    Raises:
        BadQueryError: The query cannot be understood.
    """
    return _laid_out(parse(text), 0)


def _laid_out(node: Node, level: int, *, brackets: bool = False) -> str:
    line, indent = _line(node), "  " * level
    if brackets:
        line = f"({line})"
    if len(line) + len(indent) <= _LINE:
        return indent + line
    if brackets:
        return f"{indent}(\n{_laid_out(node, level + 1)}\n{indent})"
    match node:
        case Binary():
            left, right = _loose(node)
            return "\n".join(
                (
                    _laid_out(node.left, level + 1, brackets=left),
                    f"{indent}{_operator(node)}",
                    _laid_out(node.right, level + 1, brackets=right),
                )
            )
        case Aggregation() | Call():
            arguments = ",\n".join(_laid_out(argument, level + 1) for argument in _arguments(node))
            return f"{indent}{_head(node)}(\n{arguments}\n{indent})"
    return indent + line


def _line(node: Node) -> str:
    match node:
        case Number():
            text = _number(node.value)
        case String():
            text = quoted(node.value)
        case VectorSelector():
            text = _selector(node) + _time(node)
        case MatrixSelector():
            text = f"{_selector(node.selector)}[{_duration(node.range_ms)}]{_time(node.selector)}"
        case Subquery():
            step = "" if node.step_ms is None else _duration(node.step_ms)
            inner = _in_brackets(node.expression, _strength(node.expression) < _ATOM)
            text = f"{inner}[{_duration(node.range_ms)}:{step}]{_time(node)}"
        case Negation():
            text = "-" + _in_brackets(node.expression, _strength(node.expression) <= _MINUS)
        case Binary():
            left, right = _loose(node)
            text = f"{_in_brackets(node.left, left)} {_operator(node)} {_in_brackets(node.right, right)}"
        case Aggregation() | Call():
            text = f"{_head(node)}({', '.join(map(_line, _arguments(node)))})"
    return text


def _strength(node: Node) -> int:
    """Rank of a node's operator: the higher, the closer it binds."""
    if isinstance(node, Binary):
        return _BINDING[node.operator]
    negative = isinstance(node, Number) and math.copysign(1, node.value) < 0
    return _MINUS if negative or isinstance(node, Negation) else _ATOM


def _loose(node: Binary) -> tuple[bool, bool]:
    """Sides that need brackets. Operators group from the left, but for powers."""
    strength, from_right = _BINDING[node.operator], node.operator == "^"
    return _strength(node.left) < strength + from_right, _strength(node.right) < strength + (not from_right)


def _in_brackets(node: Node, brackets: bool) -> str:  # noqa: FBT001 - always given by a computation
    return f"({_line(node)})" if brackets else _line(node)


def _head(node: Aggregation | Call) -> str:
    if isinstance(node, Call):
        return node.function
    if not (node.grouping or node.without):
        return node.operator
    return f"{node.operator} {'without' if node.without else 'by'} ({_labels(node.grouping)}) "


def _arguments(node: Aggregation | Call) -> tuple[Node, ...]:
    if isinstance(node, Call):
        return node.arguments
    return (node.expression,) if node.parameter is None else (node.parameter, node.expression)


def _operator(node: Binary) -> str:
    return node.operator + (" bool" if node.returns_bool else "") + _matching(node.matching)


def _matching(matching: Matching) -> str:
    text = ""
    if matching.on or matching.labels or matching.many:
        text += f" {'on' if matching.on else 'ignoring'} ({_labels(matching.labels)})"
    if matching.many:
        text += f" group_{matching.many} ({_labels(matching.include)})"
    if matching.fill_left is not None:
        text += f" fill_left ({_number(matching.fill_left)})"
    if matching.fill_right is not None:
        text += f" fill_right ({_number(matching.fill_right)})"
    return text


def _selector(selector: VectorSelector) -> str:
    metric = [matcher.equal_to or "" for matcher in selector.matchers if matcher.name == NAME]
    if len(metric) != 1 or not metric[0]:
        return _conditions(map(str, selector.matchers))
    others = [str(matcher) for matcher in selector.matchers if matcher.name != NAME]
    return (
        metric[0] + _conditions(others) if _METRIC.fullmatch(metric[0]) else _conditions([quoted(metric[0]), *others])
    )


def _conditions(conditions: Iterable[str]) -> str:
    text = ", ".join(conditions)
    return f"{{{text}}}" if text else ""


def _time(node: VectorSelector | Subquery) -> str:
    text = ""
    if node.at is not None:
        text += f" @ {node.at}()" if isinstance(node.at, str) else f" @ {node.at / 1000:.3f}"
    if node.offset_ms:
        text += f" offset {'-' if node.offset_ms < 0 else ''}{_duration(abs(node.offset_ms))}"
    return text


def _labels(names: tuple[str, ...]) -> str:
    return ", ".join(map(label_name, names))


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value).removesuffix(".0")
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _duration(milliseconds: int) -> str:
    text = ""
    for unit, size in UNITS_MS.items():
        if milliseconds >= size and (unit not in "yw" or milliseconds % size == 0):
            text += f"{milliseconds // size}{unit}"
            milliseconds %= size
    return text
