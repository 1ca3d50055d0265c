"""Labels of results: dropped, kept, grouped by, and replaced by `label_replace` and `label_join`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import NAME, Labels, value_of
from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.matchers import compile_regex
from ordinaut_ext_observability.promql.nodes import Call, String
from ordinaut_ext_observability.promql.query import Parts, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

_METADATA: Final = (NAME, "__type__", "__unit__")  # labels that say what a metric is, and go with its name; sorted
_REFERENCE: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)
"""`$1`, `${1}`, `$name` and `$$` in a replacement."""
_LONGEST_LABELS: Final = 8_192
"""Characters that a series' values may have together: each call in another could double them."""

Vector = list[tuple[Labels, float]]
"""Series and their values at one time."""

LabelsChange = Callable[[Labels], Labels]


def drop_name(labels: Labels) -> Labels:
    """The labels without the metric's name, type and unit: a function's result is another metric."""
    if labels and labels[0][0] == NAME and (len(labels) == 1 or labels[1][0] > _METADATA[-1]):
        return labels[1:]
    kept = tuple(pair for pair in labels if pair[0] not in _METADATA)
    return labels if len(kept) == len(labels) else kept  # the same object: many nodes may remember it


def with_value(labels: Labels, name: str, value: str) -> Labels:
    """The labels with this value of a label; without the label if it is empty."""
    others = [pair for pair in labels if pair[0] != name]
    if value:
        others.append((name, value))
    return tuple(sorted(others))


def grouping(names: Collection[str], *, kept: bool) -> LabelsChange:
    """The change that keeps the labels of these names, or else all others but the metric's name."""
    if kept:
        return (lambda labels: tuple([pair for pair in labels if pair[0] in names])) if names else lambda _: ()
    return lambda labels: tuple([pair for pair in labels if pair[0] not in names and pair[0] != NAME])


def relabelled(evaluator: Evaluator, call: Call, time: int) -> Parts:
    """The samples with labels as the function makes them."""
    make = _replacement if call.function == "label_replace" else _joined
    target, *texts = [argument.value for argument in call.arguments if isinstance(argument, String)]
    _check_name(call, target, "destination")
    value_for = make(call, *texts)

    def relabel(labels: Labels) -> Labels:
        value = value_for(labels)
        if value is None:
            return labels
        result = with_value(labels, target, value)
        if sum(len(text) for _, text in result) > _LONGEST_LABELS:
            raise ExecutionError(f"the labels of a series would have more than {_LONGEST_LABELS} characters")
        return result

    change = evaluator.remembered(call, relabel)
    parts = evaluator.parts(call.arguments[0], time)
    return unique([(change(labels), value) for labels, value in part] for part in parts)


def _replacement(_call: Call, replacement: str, source: str, pattern: str) -> Callable[[Labels], str | None]:
    """The value that `label_replace(vector, target, replacement, source, regex)` gives; None where none is replaced."""
    try:
        regex = compile_regex(pattern)
    except BadQueryError:
        raise ExecutionError(f"invalid regular expression in label_replace(): {pattern}") from None

    def value_for(labels: Labels) -> str | None:
        match = regex.fullmatch(value_of(labels, source))
        if match is None:
            return None

        def group(reference: re.Match[str]) -> str:
            dollar, *names = reference.groups()
            name = names[0] or names[1]
            try:
                return dollar or match.group(int(name) if name.isdigit() else name) or ""
            except (IndexError, ValueError):  # there is no such group; a number with thousands of digits
                return ""

        return _REFERENCE.sub(group, replacement)

    return value_for


def _joined(call: Call, separator: str, *sources: str) -> Callable[[Labels], str]:
    """The value that `label_join(vector, target, separator, source, ...)` gives."""
    for source in sources:
        _check_name(call, source, "source")
    return lambda labels: separator.join([value_of(labels, source) for source in sources])


def _check_name(call: Call, name: str, which: str) -> None:
    if not name:
        raise ExecutionError(f"invalid {which} label name in {call.function}(): ")
