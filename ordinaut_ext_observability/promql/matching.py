"""Series of two vectors that find each other by the labels they have in common."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.labels import (
    LabelsChange,
    Remembered,
    Vector,
    only,
    text_of,
    value_of,
    with_value,
    without,
)
from ordinaut_ext_observability.promql.nodes import Matching
from ordinaut_ext_observability.promql.work import pieces

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluator import Evaluating

Compute = Callable[[float, float], float]
Keeps = Callable[[float, float], bool]
_Pair = tuple[Labels, tuple[Labels, float], tuple[Labels, float]]
"""Labels that two series have in common, and their samples."""


class Match:
    """The matching of one operator: which labels two series share, and which their result has."""

    def __init__(self, matching: Matching, rename: LabelsChange | None) -> None:
        self._matching = matching
        self._rename = rename
        names = frozenset(matching.labels)
        common = only if matching.on else without
        self.keys = Remembered[Labels, Labels](lambda labels: common(labels, names))
        """The labels by which a series is found, by its own."""
        self._results = Remembered[tuple[Labels, Labels], Labels](self._combined)

    def operate(self, left: Vector, right: Vector, compute: Compute, keeps: Keeps | None) -> Evaluating:
        """The operator's results for all two series that match.

        Raises:
            ExecutionError: A series finds several others where it may find one; in Prometheus's words.
        """
        swapped = self._matching.many == "right"
        many, one = (right, left) if swapped else (left, right)
        ones = yield from self._by_key(one, "left" if swapped else "right")
        pairs = yield from self._pairs(many, ones)
        matched: dict[Labels, set[Labels]] = {}
        result: Vector = []
        for piece in pieces(pairs):
            for key, (labels, value), (other_labels, other) in piece:
                combined = self._results[labels, other_labels]
                self._note(matched, key, combined)
                first, second = (other, value) if swapped else (value, other)
                if keeps is None or keeps(first, second):
                    result.append((combined, compute(first, second)))
            yield
        return result

    def _pairs(self, many: Vector, ones: dict[Labels, tuple[Labels, float]]) -> Generator[None, None, list[_Pair]]:
        # The right fill stands for the one side with group_right too: so it is in Prometheus.
        fill_many, fill_one = self._matching.fill_left, self._matching.fill_right
        pairs: list[_Pair] = []
        for piece in pieces(many):
            for sample in piece:
                key = self.keys[sample[0]]
                other = ones.get(key)
                if other is not None:
                    pairs.append((key, sample, other))
                elif fill_one is not None:
                    pairs.append((key, sample, (key, fill_one)))
            yield
        if fill_many is not None:
            matched = {key for key, _, _ in pairs}
            pairs += [(key, (key, fill_many), sample) for key, sample in ones.items() if key not in matched]
        return pairs

    def _by_key(self, vector: Vector, side: str) -> Generator[None, None, dict[Labels, tuple[Labels, float]]]:
        found: dict[Labels, tuple[Labels, float]] = {}
        for piece in pieces(vector):
            for sample in piece:
                other = found.setdefault(self.keys[sample[0]], sample)
                if other is not sample:
                    first, second = sorted((text_of(sample[0]), text_of(other[0])))
                    raise ExecutionError(
                        f"found duplicate series for the match group {text_of(self.keys[sample[0]])} on the {side} "
                        f"hand-side of the operation: [{first}, {second}];many-to-many matching not allowed: "
                        "matching labels must be unique on one side"
                    )
            yield
        return found

    def _note(self, matched: dict[Labels, set[Labels]], key: Labels, combined: Labels) -> None:
        """Note a match; refuse one that may not be."""
        results = matched.get(key)
        if results is None:
            matched[key] = {combined}
        elif self._matching.many is None:
            raise ExecutionError(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
        elif combined in results:
            raise ExecutionError("multiple matches for labels: grouping labels must ensure unique matches")
        else:
            results.add(combined)

    def _combined(self, pair: tuple[Labels, Labels]) -> Labels:
        """The labels of the result of two series, that of the many side first."""
        labels, one = pair
        matching = self._matching
        if self._rename is not None:
            labels = self._rename(labels)
        if matching.many is None:
            if matching.on:
                labels = only(labels, matching.labels)
            else:
                labels = tuple(label for label in labels if label[0] not in matching.labels)
        for name in matching.include:
            labels = with_value(labels, name, value_of(one, name))
        return labels


def set_operation(operator: str, match: Match, left: Vector, right: Vector) -> Evaluating:
    """The union of two vectors, or the series of the left one that the right one has, or has not."""
    keys: set[Labels] = set()
    for piece in pieces(left if operator == "or" else right):
        keys.update([match.keys[labels] for labels, _ in piece])
        yield
    added, found = (right, False) if operator == "or" else (left, operator == "and")
    result = list(left) if operator == "or" else []
    for piece in pieces(added):
        result += [sample for sample in piece if (match.keys[sample[0]] in keys) is found]
        yield
    return result
