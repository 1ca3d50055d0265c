"""Parses queries: by the library `promql-parser`, on a thread with a stack that its recursion cannot exhaust.

The library's syntax tree, in which it has checked all types, is turned into `nodes`.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar, cast

import promql_parser as library

from ordinaut_ext_observability.background.daemon_threads import DaemonExecutor
from ordinaut_ext_observability.history.series import NAME
from ordinaut_ext_observability.promql import nodes
from ordinaut_ext_observability.promql.aggregate import AGGREGATIONS
from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.functions.calls import FUNCTIONS
from ordinaut_ext_observability.promql.guard import AT_SHIFT_MS, Token, guarded, shown, shown_query, split, unexpected
from ordinaut_ext_observability.promql.matchers import LabelMatcher, MatchOperator
from ordinaut_ext_observability.promql.nodes import Node

_EXPERIMENTAL: Final = "is experimental in Prometheus and not supported"
_NATIVE: Final = "reads native histograms, which are not kept here; use the series _bucket, _count and _sum"
_OF_NATIVE: Final = frozenset(f"histogram_{name}" for name in ("avg", "count", "stddev", "stdvar", "sum"))
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

_UNKNOWN_FUNCTION: Final = re.compile("unknown function with name '(.*)'")
_NAMES_TWICE: Final = "metric name must not be set twice"

_STACK_BYTES: Final = 8 * 1024 * 1024
"""The library ends the process at 547 operators on 1 MB; the guard lets 100 pass, and 64 brackets."""

_CACHED_QUERIES: Final = 128
"""Dashboards ask the same queries again. A rule's tree takes 3 kB, the largest that is accepted 120 kB."""

_ResultT = TypeVar("_ResultT")

_threads: Final = DaemonExecutor()
_stack_size = threading.Lock()
"""Held while the size of new stacks, which is the process's, is another; a fork waits, no child is left with it.

It is not `forks_held_off`, which a store holds while its disk is slow, and starts of other parts while they import.
"""
os.register_at_fork(before=_stack_size.acquire, after_in_parent=_stack_size.release, after_in_child=_stack_size.release)


def convert(expression: Any) -> nodes.Node:
    """The node for an expression of the library, whose times the guard has written.

    Raises BadQueryError where the expression has what Prometheus refuses, or what is not supported here.
    """
    return _CONVERSIONS[type(expression)](expression)


def _negation(expression: library.UnaryExpr) -> nodes.Node:
    negated = convert(expression.expr)
    if isinstance(negated, nodes.Number):
        return nodes.Number(-negated.value)
    return nodes.Binary("*", nodes.Number(-1.0), negated)


def _vector_selector(expression: library.VectorSelector) -> nodes.VectorSelector:
    if expression.matchers.or_matchers:
        raise BadQueryError("'or' within braces is not supported; use a pattern, as {job=~\"a|b\"}, or two selectors")
    matchers = tuple(
        LabelMatcher(_labels([matcher.name])[0], _MATCH_OPERATORS[str(matcher.op)], shown(matcher.value))
        for matcher in expression.matchers.matchers
    )
    if expression.name is not None:
        matchers = (LabelMatcher(NAME, "=", shown(expression.name)), *matchers)
    if all(matcher.matches("") for matcher in matchers):
        raise BadQueryError('a selector must have a condition that no empty label meets, as {job="api"} or {job=~".+"}')
    return nodes.VectorSelector(matchers, _milliseconds(expression.offset), _at(expression.at))


def _milliseconds(duration: timedelta | None) -> int:
    return 0 if duration is None else round(duration / _MILLISECOND)


def _at(modifier: library.AtModifier | None) -> nodes.At:
    if modifier is None:
        return None
    if modifier.at is not None:
        return round(modifier.at.timestamp() * 1000) - AT_SHIFT_MS
    return "start" if modifier.type == library.AtModifierType.Start else "end"


def _call(expression: library.Call) -> nodes.Node:
    function = expression.func
    if function.name not in FUNCTIONS:
        raise BadQueryError(f"{function.name}() {_NATIVE if function.name in _OF_NATIVE else _EXPERIMENTAL}")
    type_ = str(function.return_type).removeprefix("ValueType.").lower()
    return nodes.Call(function.name, tuple(map(convert, expression.args)), cast("nodes.ValueType", type_))


def _aggregation(expression: library.AggregateExpr) -> nodes.Node:
    operator, modifier = str(expression.op).strip(), expression.modifier
    if operator not in AGGREGATIONS:
        raise BadQueryError(f"{operator}() {_EXPERIMENTAL}")
    return nodes.Aggregation(
        operator,
        convert(expression.expr),
        None if expression.param is None else convert(expression.param),
        grouping=() if modifier is None else _labels(modifier.labels),
        without=modifier is not None and modifier.type == library.AggModifierType.Without,
    )


def _binary(expression: library.BinaryExpr) -> nodes.Node:
    operator = str(expression.op).strip()
    left, right = convert(expression.lhs), convert(expression.rhs)
    modifier = expression.modifier
    if modifier is None:
        return nodes.Binary(operator, left, right)
    matched, fill = modifier.matching, modifier.fill_values
    matching = nodes.Matching(
        labels=() if matched is None else _labels(matched.labels),
        on=matched is not None and matched.type == library.LabelModifierType.Include,
        many=_MANY.get(str(modifier.card)),
        include=_labels(modifier.group_labels or []),
        fill_left=fill and fill.lhs,
        fill_right=fill and fill.rhs,
    )
    between_vectors = left.type == right.type == "vector"
    if matching.fill_left is not None or matching.fill_right is not None:
        if operator in ("and", "or", "unless"):
            raise BadQueryError(f"filling in missing series not allowed for set operator {operator!r}")
        if not between_vectors:
            raise BadQueryError("filling in missing series only allowed between instant vectors")
    return nodes.Binary(operator, left, right, matching if between_vectors else nodes.Matching(), modifier.return_bool)


def _labels(names: list[str]) -> tuple[str, ...]:
    if "" in names:
        raise BadQueryError("a label's name must not be empty")
    return tuple(map(shown, names))


_CONVERSIONS: Final[dict[type, Callable[[Any], nodes.Node]]] = {
    library.AggregateExpr: _aggregation,
    library.BinaryExpr: _binary,
    library.Call: _call,
    library.MatrixSelector: lambda range_: nodes.MatrixSelector(
        _vector_selector(range_.vector_selector), _milliseconds(range_.range)
    ),
    library.NumberLiteral: lambda number: nodes.Number(number.val),
    library.ParenExpr: lambda brackets: convert(brackets.expr),
    library.StringLiteral: lambda string: nodes.String(shown(string.val)),
    library.SubqueryExpr: lambda subquery: nodes.Subquery(
        convert(subquery.expr),
        range_ms=_milliseconds(subquery.range),
        step_ms=_milliseconds(subquery.step) or None,
        offset_ms=_milliseconds(subquery.offset),
        at=_at(subquery.at),
    ),
    library.UnaryExpr: _negation,
    library.VectorSelector: _vector_selector,
}


@lru_cache(_CACHED_QUERIES)
def parse(text: str) -> Node:
    """Parse a query, and check all that can be checked before it is evaluated.

    Raises BadQueryError where it cannot be understood, is too long or too deep, or asks for what is not supported;
    ExecutionError where the process can start no thread.
    """
    return _checked(text, convert)


def format_query(text: str) -> str:
    """The query in Prometheus's layout: `format_query("sum(x)by(job)>0")` is `sum by (job) (x) > 0`.

    The layout is the library's, a port of Prometheus's own. Comments are left out. Raises as `parse` does.
    """
    parse(text)
    return _checked(text, lambda tree: shown_query(tree.prettify()))


def _checked(text: str, use: Callable[[Any], _ResultT]) -> _ResultT:
    """The result made from the library's tree of a query."""
    try:
        tokens = split(text)
        query = guarded(tokens)
        return _on_deep_stack(lambda: use(_library_tree(query, tokens)))
    except BadQueryError as error:
        raise BadQueryError(f"parse error: {error}") from None


def _library_tree(query: str, tokens: Sequence[Token]) -> Any:
    try:
        return library.parse(query)
    except BaseException as error:
        if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
            raise  # a panic is no Exception, and the library does not export it
        message = str(error)
    if message.startswith(_NAMES_TWICE):  # the rest has values that may be hidden
        message = _NAMES_TWICE
    elif message in ("", "invalid promql query"):
        message = unexpected(tokens)
    raise BadQueryError(_UNKNOWN_FUNCTION.sub(r"\1() is not a function known here", message))


def _on_deep_stack(work: Callable[[], _ResultT]) -> _ResultT:
    """The result of work done on a thread of its own, where what it leaves behind is dropped too."""

    def run() -> _ResultT:
        try:
            return work()
        except BaseException as error:  # noqa: BLE001 - raised in the caller, without the trees in its frames
            raise error.with_traceback(None) from None

    with _stack_size:
        usual = threading.stack_size(_STACK_BYTES)
        try:
            future = _threads.submit(run)
        except RuntimeError as error:
            raise ExecutionError(f"no thread can be started to parse the query: {error}") from None
        finally:
            threading.stack_size(usual)
    return future.result()
