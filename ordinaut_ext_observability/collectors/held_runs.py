"""Runs that wait, in case who ran them has reported them by then. Without I/O."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_MOST_SERIES = 2000


class RunSeries(NamedTuple):
    """The labels under which a run is counted and timed."""

    task: str
    agent: str
    succeeded: bool


@dataclass
class Held:
    """What waits of one series. Durations are kept as the buckets' numbers and sums: a checkpoint stays small."""

    runs: int = 0
    timed: dict[int, tuple[int, float]] = field(default_factory=dict)


class HeldRuns:
    """How many runs of each series wait, and how long they took, for a histogram with these bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._held: dict[RunSeries, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, series: RunSeries, took: float | None) -> bool:
        """Have a run wait, with how long it took if that is known; False where too many series wait already."""
        if series not in self._held and len(self._held) >= _MOST_SERIES:
            return False
        held = self._held.setdefault(series, Held())
        held.runs += 1
        if took is not None:
            bucket = bisect_left(self._bounds, took)
            number, seconds = held.timed.get(bucket, (0, 0.0))
            held.timed[bucket] = number + 1, seconds + took
        return True

    def take(self) -> list[tuple[RunSeries, int, list[float]]]:
        """All that wait, and wait no longer: series, runs, and durations with the buckets and the sum of the true."""
        taken, self._held = self._held, {}
        return [(series, held.runs, self._durations(held)) for series, held in taken.items()]

    def dump(self) -> list[Any]:
        """What `load` takes."""
        return [
            [*series, held.runs, [[bucket, *sums] for bucket, sums in held.timed.items()]]
            for series, held in self._held.items()
        ]

    def load(self, state: list[Any]) -> None:
        """Go on where another stopped."""
        self._held = {
            RunSeries(str(task), str(agent), bool(succeeded)): Held(
                int(runs), {int(bucket): (int(number), float(seconds)) for bucket, number, seconds in timed}
            )
            for task, agent, succeeded, runs, timed in state
        }

    def _durations(self, held: Held) -> list[float]:
        """The mean of each bucket, as often as there are runs in it; rounding must not take it past the bound."""
        bounds = (*self._bounds, float("inf"))
        return [
            min(seconds / number, bounds[min(bucket, len(self._bounds))])
            for bucket, (number, seconds) in held.timed.items()
            for _ in range(number)
        ]
