"""Functions of series' labels: replaced, joined; and sorting."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.aggregate import by_value
from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.labels import Remembered, Vector, value_of, with_value
from ordinaut_ext_observability.promql.nodes import Call, Node, String
from ordinaut_ext_observability.promql.regex import compile_regex
from ordinaut_ext_observability.promql.work import pieces, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluator import Evaluating, Evaluator

_REFERENCE: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)
"""`$1`, `${1}`, `$name` and `$$` in a replacement."""
_LONGEST_LABELS: Final = 8_192
"""Characters that a series' values may have together: each call in another could double them."""


def _text(node: Node) -> str:
    assert isinstance(node, String)  # noqa: S101 - the parser has seen to it
    return node.value


def _check_label(call: Call, index: int, which: str) -> None:
    if not _text(call.arguments[index]):
        raise ExecutionError(f"invalid {which} label name in {call.function}(): ")


def label_replace(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """`label_replace(vector, target, replacement, source, regex)`."""
    changed = evaluator.state(call, lambda: Remembered(_replacing(call)))
    return (yield from _relabelled(evaluator, call, time, changed))


def _replacing(call: Call) -> Callable[[Labels], Labels]:
    target, replacement, source, pattern = map(_text, call.arguments[1:])
    _check_label(call, 1, "destination")
    try:
        regex = compile_regex(pattern)
    except BadQueryError:
        raise ExecutionError(f"invalid regular expression in label_replace(): {pattern}") from None

    def changed(labels: Labels) -> Labels:
        match = regex.fullmatch(value_of(labels, source))
        if match is None:
            return labels

        def group(reference: re.Match[str]) -> str:
            dollar, *names = reference.groups()
            name = names[0] or names[1]
            try:
                return dollar or match.group(int(name) if name.isdigit() else name) or ""
            except IndexError:
                return ""

        return _with_label(labels, target, _REFERENCE.sub(group, replacement))

    return changed


def label_join(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """`label_join(vector, target, separator, source, ...)`."""
    target, separator, *sources = map(_text, call.arguments[1:])
    for index in range(3, len(call.arguments)):
        _check_label(call, index, "source")
    _check_label(call, 1, "destination")

    def joined(labels: Labels) -> Labels:
        return _with_label(labels, target, separator.join(value_of(labels, source) for source in sources))

    return (yield from _relabelled(evaluator, call, time, evaluator.state(call, lambda: Remembered(joined))))


def _with_label(labels: Labels, name: str, value: str) -> Labels:
    changed = with_value(labels, name, value)
    if sum(len(text) for _, text in changed) > _LONGEST_LABELS:
        raise ExecutionError(f"the labels of a series would have more than {_LONGEST_LABELS} characters")
    return changed


def _relabelled(evaluator: Evaluator, call: Call, time: int, changed: Remembered[Labels, Labels]) -> Evaluating:
    vector = yield from evaluator.vector(call.arguments[0], time)
    result: Vector = []
    for piece in pieces(vector):
        result += [(changed[labels], value) for labels, value in piece]
        yield
    return (yield from unique(result))


def sort(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """`sort(vector)` and `sort_desc(vector)`: by value, NaNs last."""
    vector = yield from evaluator.vector(call.arguments[0], time)
    return (yield from by_value(vector, descending=call.function == "sort_desc"))
