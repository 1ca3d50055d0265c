"""Selectors: the series they read, and the samples that count at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from ordinaut_ext_observability.history.series import Labels, Series, is_stale
from ordinaut_ext_observability.promql.labels import LabelsChange, Vector
from ordinaut_ext_observability.promql.nodes import MatrixSelector, Subquery, VectorSelector
from ordinaut_ext_observability.promql.query import PIECE, Parts, pieces

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluator

_Series = tuple[Labels, Sequence[int], Sequence[float]]
Batches = Iterator[Sequence[_Series]]
"""Series, or tuples like them, some at a time. A batch may be empty, where there is only a pause."""


class Window:
    """The range of a range selector or subquery at a step, and the numbers that a function takes beside it."""

    __slots__ = ("end_ms", "parameters", "seconds", "start_ms", "time_ms")

    def __init__(self, evaluator: Evaluator, node: MatrixSelector | Subquery, time_ms: int) -> None:
        self.time_ms = time_ms
        """The time of the step: the range ends there, unless an offset or `@` moves it."""
        place = node.selector if isinstance(node, MatrixSelector) else node
        self.end_ms = evaluator.query.moved(place, time_ms)
        self.start_ms = self.end_ms - node.range_ms
        """Excluded, as Prometheus does since version 3."""
        self.seconds: float = node.range_ms / 1_000
        self.parameters: Sequence[float] = ()

    def bounds(self, timestamps: Sequence[int]) -> tuple[int, int]:
        """Indexes of the first sample in the range, and of the first after it."""
        first = bisect_right(timestamps, self.start_ms)
        return first, bisect_right(timestamps, self.end_ms, first)

    def cut(self, batch: Iterable[_Series]) -> Iterator[Series]:
        """The samples in the range of those series that have some."""
        for labels, timestamps, values in batch:
            first, last = self.bounds(timestamps)
            if first < last:
                yield Series(labels, timestamps[first:last], values[first:last])


def instant(evaluator: Evaluator, node: VectorSelector, time: int, *, stamps: bool = False) -> Parts:
    """The last sample of each series that is not older than the lookback, nor the mark of the series' end.

    With `stamps`, the samples' times in seconds stand for their values.
    """
    lookback, end = evaluator.query.lookback_ms, evaluator.query.moved(node, time)
    shared: Sequence[int] | None = None
    index = -1
    for batch in _kept(evaluator, node, lambda: _read(evaluator, node, lookback)):
        part: Vector = []
        for labels, timestamps, values in batch:
            if timestamps is not shared:
                shared = timestamps
                index = bisect_right(timestamps, end) - 1
                if index >= 0 and timestamps[index] <= end - lookback:
                    index = -1
            if index >= 0:
                value = values[index]
                if value == value or not is_stale(value):  # noqa: PLR0124 - false of a NaN alone
                    part.append((labels, timestamps[index] / 1_000 if stamps else value))
        evaluator.work.count_samples(len(part))
        yield part


def ranges(evaluator: Evaluator, node: MatrixSelector | Subquery, change: LabelsChange | None = None) -> Batches:
    """All series that a range selector or subquery needs at any step, without marks of their ends.

    Their labels are as the `change` makes them.
    """

    def read() -> Batches:
        batches: Batches
        if isinstance(node, MatrixSelector):
            batches = map(_without_stale, _read(evaluator, node.selector, node.range_ms))
        else:
            step = node.step_ms or evaluator.query.subquery_step_ms
            start, end = _extent(evaluator, node, node.range_ms)
            multiples = range(-(-start // step) * step, end + 1, step)
            inner = type(evaluator)(evaluator.query, evaluator.source, evaluator.work, multiples)
            batches = pieces((yield from inner.series_of(node.expression)))
        for batch in batches:
            yield [(change(labels), times, values) for labels, times, values in batch] if change else batch

    return _kept(evaluator, node, read)


def _kept(
    evaluator: Evaluator, node: VectorSelector | MatrixSelector | Subquery, read: Callable[[], Batches]
) -> Batches:
    """The series of a node, read at the first step and kept for the others.

    Where there is no other, they are let go batch by batch. Many objects held at once make the interpreter look for
    garbage in all of the host's memory, for tens of milliseconds.
    """
    kept = evaluator.state(node, list[list[_Series]])
    if kept:
        yield from pieces(kept[0])
        return
    found: list[_Series] = []
    for batch in read():
        if len(evaluator.steps) > 1:
            found += batch
        yield batch
    kept.append(found)


def _extent(evaluator: Evaluator, node: VectorSelector | Subquery, range_ms: int) -> tuple[int, int]:
    """First and last time of which samples are needed, both included."""
    steps = evaluator.steps
    return evaluator.query.moved(node, steps[0]) - range_ms + 1, evaluator.query.moved(node, steps[-1])


def _read(evaluator: Evaluator, node: VectorSelector, range_ms: int) -> Batches:
    """The series that a selector needs at any step."""
    start, end = _extent(evaluator, node, range_ms)
    work, number, batch = evaluator.work, 0, list[Series]()
    for series in chain(evaluator.source.select(node.matchers, start, end), (None,)) if start <= end else ():
        if series is not None:
            batch.append(series)
            if len(batch) < PIECE:
                continue
        number += len(batch)
        work.check_series(number)
        work.count_samples(sum([len(times) for _, times, _ in batch]))
        yield batch
        batch = []


def _without_stale(batch: Sequence[_Series]) -> list[_Series]:
    """The series without marks of their ends."""
    result: list[_Series] = []
    for series in batch:
        labels, times, values = series
        total = sum(values)
        if total == total:  # noqa: PLR0124 - not a NaN: none of the values is such a mark
            result.append(series)
        else:
            kept = [sample for sample in zip(times, values, strict=True) if not is_stale(sample[1])]
            result.append((labels, [time for time, _ in kept], [value for _, value in kept]))
    return result
