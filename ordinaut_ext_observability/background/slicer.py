"""Long work on an event loop, in slices between which the loop does what else is due.

The work is an iterator that does a little at each step::

    slicer = Slicer()
    async for results in slicer.slices(evaluate(rule) for rule in rules):
        states.update(results)
    cpu_seconds.inc(slicer.cpu_seconds)

Each step should take far less than a slice: nothing interrupts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from ordinaut_ext_observability.background.clock import monotonic_seconds, thread_cpu_seconds

SLICE_SECONDS = 0.0005
"""Longest work at a time: a neighbour that waits for several slices still waits less than 2 ms."""

TURNS_BETWEEN_SLICES = 3
"""Turns of the loop in a pause. One reads a request, the next ones answer it: with one, it waits for three slices."""

ResultT = TypeVar("ResultT")


async def pause() -> None:
    """Let the loop do what else is due."""
    for _ in range(TURNS_BETWEEN_SLICES):
        await asyncio.sleep(0)


class Slicer:
    """Does work in slices of time, with a pause between two, and tells what it took."""

    def __init__(self, slice_seconds: float = SLICE_SECONDS) -> None:
        self.cpu_seconds = 0.0
        """Processor time of the slices so far, without what was done with their results."""
        self._slice_seconds = slice_seconds

    async def slices(self, work: Iterable[ResultT]) -> AsyncIterator[list[ResultT]]:
        """The results of each slice, which ends where another step as long would exceed it; the last may have none."""
        steps, goes_on = iter(work), True
        while goes_on:
            before, cpu_started = monotonic_seconds(), thread_cpu_seconds()
            ends_at = before + self._slice_seconds
            results, goes_on = [], False
            for result in steps:
                results.append(result)
                now = monotonic_seconds()
                if now + (now - before) > ends_at:
                    goes_on = True
                    break
                before = now
            self.cpu_seconds += thread_cpu_seconds() - cpu_started
            yield results
            if goes_on:
                await pause()
