"""The nodes of a parsed expression.

`sum by (endpoint) (rate(http_requests_total[5m])) > 0` is::

    Binary(">", Aggregation("sum", Call("rate", (MatrixSelector(…, 300_000),)), grouping=("endpoint",)), Number(0.0))

A node is evaluated as it stands: what it means was checked when it was parsed. Times are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal

from ordinaut_ext_observability.history.series import NAME
from ordinaut_ext_observability.promql.matchers import LabelMatcher

ValueType = Literal["scalar", "vector", "matrix", "string"]
At = int | Literal["start", "end"] | None
"""The `@` modifier: a time in milliseconds since 1970, or the start or end of the query."""


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """A number."""

    value: float
    type: ValueType = field(default="scalar", init=False)


@dataclass(frozen=True, slots=True, eq=False)
class String:
    """A text in quotes."""

    value: str
    type: ValueType = field(default="string", init=False)


@dataclass(frozen=True, slots=True, eq=False)
class VectorSelector:
    """The last sample of each matching series."""

    matchers: tuple[LabelMatcher, ...]
    offset_ms: int = 0
    at: At = None
    type: ValueType = field(default="vector", init=False)


@dataclass(frozen=True, slots=True, eq=False)
class MatrixSelector:
    """The samples of each matching series within a range, its beginning excluded and its end included."""

    selector: VectorSelector
    range_ms: int
    type: ValueType = field(default="matrix", init=False)


@dataclass(frozen=True, slots=True, eq=False)
class Subquery:
    """An expression evaluated at each step within a range: at multiples of the step."""

    expression: Node
    range_ms: int
    step_ms: int | None
    """None: the default of whoever evaluates."""
    offset_ms: int = 0
    at: At = None
    type: ValueType = field(default="matrix", init=False)


@dataclass(frozen=True, slots=True)
class Matching:
    """Matching of the series of two vectors."""

    labels: tuple[str, ...] = ()
    on: bool = False
    """True: they have these labels in common; False: all labels but these."""
    many: Literal["left", "right"] | None = None
    """The side of which several series may find the same one, as of `group_left` and `group_right`."""
    include: tuple[str, ...] = ()
    """Labels that the result takes from the other side."""
    fill_left: float | None = None
    fill_right: float | None = None
    """Values that stand for a series missing on that side."""


@dataclass(frozen=True, slots=True, eq=False)
class Binary:
    """Two expressions and an operator between: arithmetic, comparison, or one on sets."""

    operator: str
    """One of `+ - * / % ^ atan2 == != > < >= <= and or unless`."""
    left: Node
    right: Node
    matching: Matching = Matching()
    returns_bool: bool = False
    """A comparison gives 0 or 1 instead of keeping what it is true of."""
    type: ValueType = field(init=False)
    """A scalar where both sides are. It is found once: it is asked for at every step."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", "scalar" if self.left.type == self.right.type == "scalar" else "vector")


@dataclass(frozen=True, slots=True, eq=False)
class Aggregation:
    """Series of a vector taken together, by the values of some labels."""

    operator: str
    """One of `sum avg min max count group stddev stdvar topk bottomk quantile count_values`."""
    expression: Node
    parameter: Node | None = None
    """The number of `topk`, `bottomk` and `quantile`, the label of `count_values`."""
    grouping: tuple[str, ...] = ()
    without: bool = False
    """True: by all labels but those of `grouping`."""
    type: ValueType = field(default="vector", init=False)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function of arguments. Those that may be left out are filled in where the function needs them."""

    function: str
    arguments: tuple[Node, ...]
    type: ValueType


Node = Number | String | VectorSelector | MatrixSelector | Subquery | Binary | Aggregation | Call


def selectors_of(node: Node) -> Iterator[VectorSelector]:
    """All selectors of an expression."""
    if isinstance(node, VectorSelector):
        yield node
    for child in children(node):
        yield from selectors_of(child)


def names_read(node: Node) -> frozenset[str | None]:
    """Names of the series that an expression asks for, None for any."""
    return frozenset(
        next((matcher.equal_to for matcher in selector.matchers if matcher.name == NAME), None)
        for selector in selectors_of(node)
    )


def children(node: Node) -> Iterator[Node]:
    """The expressions that a node is made of."""
    for each in fields(node):
        value = getattr(node, each.name)
        yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Node))
