"""Bounds on the work of one query, and the parts in which it is done: between two parts there may be a pause."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import ExecutionError, QueryTimeoutError
from ordinaut_ext_observability.promql.query import Limits

PIECE: Final = 64
"""Series between two pauses where each takes some microseconds: a piece then takes less than half a millisecond."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Parts = Iterator[Sequence[tuple[Labels, float]]]
"""A vector, some of its samples at a time. A part may be empty, where there is only a pause."""
Paused = Generator[tuple[()], None, ResultT]
"""Work with pauses, and its result."""


def pieces(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """The items in sequences of at most `PIECE`, after each of which there should be a pause."""
    if len(items) <= PIECE:
        return iter((items,))
    return (items[start : start + PIECE] for start in range(0, len(items), PIECE))


def unique(parts: Iterable[Sequence[tuple[Labels, float]]]) -> Parts:
    """The same parts, with a pause before each, since all nodes may work on a part in a row.

    Raises ExecutionError, in Prometheus's words, where a series is in them twice.
    """
    found: set[Labels] = set()
    count = 0
    for part in parts:
        found.update([labels for labels, _ in part])
        count += len(part)
        if len(found) < count:
            raise ExecutionError("vector cannot contain metrics with the same labelset")
        if count > 1:
            yield ()
        yield part


class Work:
    """The work that a query has done, against its limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._samples = 0
        self._ends_at = monotonic_seconds() + limits.seconds

    def count_samples(self, samples: int) -> None:
        """Add samples that were read or made. Raises ExecutionError if these are too many."""
        self._samples += samples
        if self._samples > self._limits.samples:
            raise ExecutionError(
                f"the query reads or makes more than {self._limits.samples} samples; "
                "ask for less time, a longer step or fewer series"
            )

    def check_series(self, series: int) -> None:
        """Raise ExecutionError if a selector, a union or the answer has too many series."""
        if series > self._limits.series:
            raise ExecutionError(f"more than {self._limits.series} series at a time; name more labels in the selectors")

    def check_steps(self, steps: range) -> None:
        """Raise ExecutionError if the query, or a subquery, has too many steps."""
        count = (steps.stop - steps.start - 1) // steps.step + 1  # len() has no answer beyond 64 bits
        if count > self._limits.steps:
            raise ExecutionError(
                f"{count} steps are more than the limit of {self._limits.steps}; take a longer step or a shorter range"
            )

    def check_time(self) -> None:
        """Raise QueryTimeoutError if the query takes too long."""
        if monotonic_seconds() > self._ends_at:
            raise QueryTimeoutError(f"the query took longer than its limit of {self._limits.seconds:g} seconds")
