"""How far back a query looks."""

from __future__ import annotations

from collections.abc import Iterator

from ordinaut_ext_observability.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    MatrixSelector,
    Negation,
    Node,
    Subquery,
    VectorSelector,
)
from ordinaut_ext_observability.promql.query import Query


def earliest_ms(query: Query) -> int | None:
    """The earliest time that the query asks about, in milliseconds since 1970; None where it asks for no series.

    The time for which a sample stands after it was taken is left out: the query is as good with a newer one.
    """
    return min(_reaches(query.expression, query, query.start_ms), default=None)


def selectors_of(node: Node) -> Iterator[VectorSelector]:
    """All selectors of an expression."""
    if isinstance(node, VectorSelector):
        yield node
    inner = (
        (node.selector,)
        if isinstance(node, MatrixSelector)
        else (node.expression,)
        if isinstance(node, Subquery)
        else _children(node)
    )
    for child in inner:
        yield from selectors_of(child)


def _reaches(node: Node, query: Query, at_ms: int) -> Iterator[int]:
    """Times that a part of the query looks back to when it is evaluated at this time."""
    if isinstance(node, MatrixSelector):
        yield from (reach - node.range_ms for reach in _reaches(node.selector, query, at_ms))
    elif isinstance(node, VectorSelector | Subquery):
        fixed = {None: at_ms, "start": query.start_ms, "end": query.end_ms}
        at_ms = (node.at if isinstance(node.at, int) else fixed[node.at]) - node.offset_ms
        if isinstance(node, Subquery):
            yield from _reaches(node.expression, query, at_ms - node.range_ms)
        else:
            yield at_ms
    for child in _children(node):
        yield from _reaches(child, query, at_ms)


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Negation):
        return (node.expression,)
    if isinstance(node, Binary):
        return (node.left, node.right)
    if isinstance(node, Aggregation):
        return (node.expression,) if node.parameter is None else (node.expression, node.parameter)
    return node.arguments if isinstance(node, Call) else ()
