"""Bounds on the work of one query, and places to pause in it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final, TypeVar

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import ExecutionError, QueryTimeoutError
from ordinaut_ext_observability.promql.labels import Vector
from ordinaut_ext_observability.promql.query import Limits

PIECE: Final = 128
"""Series between two pauses where each takes some microseconds: a piece then takes less than half a millisecond."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def pieces(items: list[ItemT]) -> Iterator[list[ItemT]]:
    """The items in lists of at most `PIECE`, after each of which there should be a pause."""
    if len(items) <= PIECE:
        return iter((items,))
    return (items[start : start + PIECE] for start in range(0, len(items), PIECE))


def changed(
    items: list[ItemT], change: Callable[[list[ItemT]], Iterable[ResultT]]
) -> Generator[None, None, list[ResultT]]:
    """All that a change makes of the items, a piece at a time."""
    result: list[ResultT] = []
    for piece in pieces(items):
        result += change(piece)
        yield
    return result


def unique(vector: Vector) -> Generator[None, None, Vector]:
    """The vector itself.

    Raises:
        ExecutionError: A series is in it twice; in Prometheus's words.
    """
    found: set[Labels] = set()
    for piece in pieces(vector if len(vector) > 1 else []):
        found.update([labels for labels, _ in piece])
        yield
    if len(vector) > max(1, len(found)):
        raise ExecutionError("vector cannot contain metrics with the same labelset")
    return vector


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
