"""Bounds on the work of one query, and places to pause in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.promql.errors import ExecutionError, QueryTimeoutError
from ordinaut_ext_observability.promql.query import Limits

PIECE: Final = 128
"""Series between two pauses where each takes some microseconds: a piece then takes less than half a millisecond."""

ItemT = TypeVar("ItemT")


def pieces(items: list[ItemT]) -> Iterator[list[ItemT]]:
    """The items in lists of at most `PIECE`, after each of which there should be a pause."""
    if len(items) <= PIECE:
        return iter((items,))
    return (items[start : start + PIECE] for start in range(0, len(items), PIECE))


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
        """Raise ExecutionError if a selector, or the answer, has too many series."""
        if series > self._limits.series:
            raise ExecutionError(f"more than {self._limits.series} series match; name more labels in the selector")

    def check_steps(self, steps: int) -> None:
        """Raise ExecutionError if the query, or a subquery, has too many steps."""
        if steps > self._limits.steps:
            raise ExecutionError(
                f"{steps} steps are more than the limit of {self._limits.steps}; take a longer step or a shorter range"
            )

    def check_time(self) -> None:
        """Raise QueryTimeoutError if the query takes too long."""
        if monotonic_seconds() > self._ends_at:
            raise QueryTimeoutError(f"the query took longer than its limit of {self._limits.seconds:g} seconds")
