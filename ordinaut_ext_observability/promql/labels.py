"""Labels of results: dropped, kept and replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from ordinaut_ext_observability.history.series import NAME, Labels

_METADATA: Final = (NAME, "__type__", "__unit__")  # labels that say what a metric is, and go with its name; sorted

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
