"""Functions of series' labels: `label_replace` and `label_join`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.labels import LabelsChange, value_of, with_value
from ordinaut_ext_observability.promql.nodes import Call, String
from ordinaut_ext_observability.promql.regex import compile_regex
from ordinaut_ext_observability.promql.work import Parts, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

_REFERENCE: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)
"""`$1`, `${1}`, `$name` and `$$` in a replacement."""
_LONGEST_LABELS: Final = 8_192
"""Characters that a series' values may have together: each call in another could double them."""


def relabelled(evaluator: Evaluator, call: Call, time: int) -> Parts:
    """The samples with labels as the function makes them."""
    make = _replacing if call.function == "label_replace" else _joining
    relabel = evaluator.remembered(call, make(call))
    parts = evaluator.parts(call.arguments[0], time)
    return unique([(relabel(labels), value) for labels, value in part] for part in parts)


def _texts(call: Call) -> list[str]:
    return [argument.value for argument in call.arguments if isinstance(argument, String)]


def _replacing(call: Call) -> LabelsChange:
    """`label_replace(vector, target, replacement, source, regex)`."""
    target, replacement, source, pattern = _texts(call)
    _check_name(call, target, "destination")
    try:
        regex = compile_regex(pattern)
    except BadQueryError:
        raise ExecutionError(f"invalid regular expression in label_replace(): {pattern}") from None

    def replaced(labels: Labels) -> Labels:
        match = regex.fullmatch(value_of(labels, source))
        if match is None:
            return labels

        def group(reference: re.Match[str]) -> str:
            dollar, *names = reference.groups()
            name = names[0] or names[1]
            try:
                return dollar or match.group(int(name) if name.isdigit() else name) or ""
            except (IndexError, ValueError):  # there is no such group; a number with thousands of digits
                return ""

        return _with_label(labels, target, _REFERENCE.sub(group, replacement))

    return replaced


def _joining(call: Call) -> LabelsChange:
    """`label_join(vector, target, separator, source, ...)`."""
    target, separator, *sources = _texts(call)
    for source in sources:
        _check_name(call, source, "source")
    _check_name(call, target, "destination")
    return lambda labels: _with_label(labels, target, separator.join(value_of(labels, source) for source in sources))


def _check_name(call: Call, name: str, which: str) -> None:
    if not name:
        raise ExecutionError(f"invalid {which} label name in {call.function}(): ")


def _with_label(labels: Labels, name: str, value: str) -> Labels:
    result = with_value(labels, name, value)
    if sum(len(text) for _, text in result) > _LONGEST_LABELS:
        raise ExecutionError(f"the labels of a series would have more than {_LONGEST_LABELS} characters")
    return result
