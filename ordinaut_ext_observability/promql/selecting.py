"""Selectors: the series they read, and the samples that count at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ordinaut_ext_observability.history.series import Series, is_stale
from ordinaut_ext_observability.promql.labels import Vector
from ordinaut_ext_observability.promql.nodes import MatrixSelector, Subquery, VectorSelector
from ordinaut_ext_observability.promql.work import PIECE, changed

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluate import Evaluating, Evaluator

Loading = Generator[None, None, list[Series]]
Parts = Iterator[Vector | None]
"""A vector, some of its samples at a time. There may be a pause after each part; None is for that alone."""


class Window:
    """A range of time that ends at a step, and the numbers that a function takes beside it."""

    __slots__ = ("end_ms", "parameters", "seconds", "start_ms", "time_ms")

    def __init__(self, time_ms: int, end_ms: int, range_ms: int) -> None:
        self.time_ms = time_ms
        """The time of the step: the range ends there, unless an offset or `@` moves it."""
        self.end_ms = end_ms
        self.start_ms = end_ms - range_ms
        """Excluded, as Prometheus does since version 3."""
        self.seconds = range_ms / 1_000
        self.parameters: Sequence[float] = ()

    def bounds(self, timestamps: Sequence[int]) -> tuple[int, int]:
        """Indexes of the first sample in the range, and of the first after it."""
        first = bisect_right(timestamps, self.start_ms)
        return first, bisect_right(timestamps, self.end_ms, first)

    def cut(self, series: list[Series]) -> Iterator[Series]:
        """The samples in the range of those series that have some."""
        for labels, timestamps, values in series:
            first, last = self.bounds(timestamps)
            if first < last:
                yield Series(labels, timestamps[first:last], values[first:last])


def window_at(evaluator: Evaluator, node: MatrixSelector | Subquery, time: int) -> Window:
    """The range of a range selector or subquery at a step."""
    place = node.selector if isinstance(node, MatrixSelector) else node
    return Window(time, evaluator.query.moved(place, time), node.range_ms)


def instant(evaluator: Evaluator, node: VectorSelector, time: int, *, stamps: bool = False) -> Evaluating:
    """The last sample of each series that is not older than the lookback, nor the mark of the series' end.

    With `stamps`, the samples' times in seconds stand for their values.
    """
    loaded = evaluator.state(node, list[list[Series]])
    if not loaded:
        loaded.append((yield from _select(evaluator, node, evaluator.query.lookback_ms)))
    result: Vector = []
    for part in _last_samples(evaluator, node, time, loaded[0], stamps=stamps):
        result += part or ()
        yield
    return result


def instant_parts(evaluator: Evaluator, node: VectorSelector, time: int) -> Parts:
    """The same samples, each read when it is its turn: no more series are held than a part has."""
    return _last_samples(evaluator, node, time, read(evaluator, node, evaluator.query.lookback_ms), stamps=False)


def _last_samples(
    evaluator: Evaluator, node: VectorSelector, time: int, series: Iterable[Series | None], *, stamps: bool
) -> Parts:
    lookback, end = evaluator.query.lookback_ms, evaluator.query.moved(node, time)
    shared: Sequence[int] | None = None
    index = -1
    part: Vector = []
    for number, one in enumerate(series):
        if one is not None:
            labels, timestamps, values = one
            if timestamps is not shared:
                shared = timestamps
                index = bisect_right(timestamps, end) - 1
                if index >= 0 and timestamps[index] <= end - lookback:
                    index = -1
            if index >= 0:
                value = values[index]
                if value == value or not is_stale(value):  # noqa: PLR0124 - false of a NaN alone
                    part.append((labels, timestamps[index] / 1_000 if stamps else value))
        if one is None or not number % PIECE:
            evaluator.work.count_samples(len(part))
            yield part
            part = []
    evaluator.work.count_samples(len(part))
    yield part


def ranges(evaluator: Evaluator, node: MatrixSelector | Subquery) -> Loading:
    """All series that a range selector or subquery needs at any step, without marks of their ends."""
    loaded = evaluator.state(node, list[list[Series]])
    if not loaded:
        if isinstance(node, Subquery):
            series = yield from _subquery(evaluator, node)
        else:
            series = yield from _select(evaluator, node.selector, node.range_ms)
            series = yield from changed(series, lambda piece: map(without_stale, piece))
        loaded.append(series)
    return loaded[0]


def _extent(evaluator: Evaluator, node: VectorSelector | Subquery, range_ms: int) -> tuple[int, int]:
    """First and last time of which samples are needed, both included."""
    steps = evaluator.steps
    return evaluator.query.moved(node, steps[0]) - range_ms + 1, evaluator.query.moved(node, steps[-1])


def _select(evaluator: Evaluator, node: VectorSelector, range_ms: int) -> Loading:
    found: list[Series] = []
    for series in read(evaluator, node, range_ms):
        if series is None:
            yield
        else:
            found.append(series)
    return found


def read(evaluator: Evaluator, node: VectorSelector, range_ms: int) -> Iterator[Series | None]:
    """The series that a selector needs at any step; None where there may be a pause."""
    start, end = _extent(evaluator, node, range_ms)
    work, number = evaluator.work, 0
    for series in evaluator.source.select(node.matchers, start, end) if start <= end else ():
        if series is not None:
            number += 1
            work.count_samples(len(series.timestamps))
            if number % PIECE:
                yield series
                continue
            work.check_series(number)
            yield series
        yield None
    work.check_series(number)


def without_stale(series: Series) -> Series:
    """The series without marks of its end."""
    total = sum(series.values)
    if total == total:  # noqa: PLR0124 - not a NaN: none of the values is such a mark
        return series
    kept = [sample for sample in zip(series.timestamps, series.values, strict=True) if not is_stale(sample[1])]
    return Series(series.labels, [time for time, _ in kept], [value for _, value in kept])


def _subquery(evaluator: Evaluator, node: Subquery) -> Loading:
    """The expression at all multiples of the step that any of the ranges has."""
    step = node.step_ms or evaluator.query.subquery_step_ms
    start, end = _extent(evaluator, node, node.range_ms)
    inner = evaluator.over(range(-(-start // step) * step, end + 1, step))
    return (yield from inner.series_of(node.expression))
