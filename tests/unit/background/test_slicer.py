"""Work in slices: everything is done in order, the loop has its turns between slices, and what it took is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ordinaut_ext_observability.background import slicer
from ordinaut_ext_observability.background.slicer import TURNS_BETWEEN_SLICES, Slicer


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass only when a step says so."""
    now = [0.0]
    for name in ("monotonic_seconds", "thread_cpu_seconds"):
        monkeypatch.setattr(slicer, name, lambda: now[0])
    return now


def steps(clock: list[float], seconds: list[float]) -> Iterator[int]:
    for number, taken in enumerate(seconds):
        clock[0] += taken
        yield number


def run(work: Slicer, pieces: Iterator[int]) -> list[list[int]]:
    async def main() -> list[list[int]]:
        return [results async for results in work.slices(pieces)]

    return asyncio.run(main())


def test_a_slice_ends_where_another_step_as_long_as_the_last_would_exceed_its_time(clock: list[float]) -> None:
    assert run(Slicer(slice_seconds=10), steps(clock, [4, 4, 2, 5, 3, 3])) == [[0, 1], [2, 3], [4, 5]]


def test_a_longer_step_than_a_slice_ends_it(clock: list[float]) -> None:
    assert run(Slicer(slice_seconds=10), steps(clock, [1, 20, 3])) == [[0, 1], [2]]


def test_short_work_is_one_slice(clock: list[float]) -> None:
    assert run(Slicer(slice_seconds=10), steps(clock, [1, 1])) == [[0, 1]]


def test_no_work_is_an_empty_slice(clock: list[float]) -> None:
    assert run(Slicer(), steps(clock, [])) == [[]]


def test_processor_time_is_that_of_the_steps_alone(clock: list[float]) -> None:
    async def main() -> float:
        work = Slicer(slice_seconds=2)
        async for _ in work.slices(steps(clock, [1, 1, 1])):
            clock[0] += 100  # by who uses the results
        return work.cpu_seconds

    assert asyncio.run(main()) == 3


def test_others_have_their_turns_between_slices(clock: list[float]) -> None:
    async def main() -> list[int]:
        turns, seen = 0, []

        async def neighbour() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        running = asyncio.create_task(neighbour())
        async for _ in Slicer(slice_seconds=1).slices(steps(clock, [1, 1, 1])):
            seen.append(turns)
        seen.append(turns)
        running.cancel()
        return seen

    assert asyncio.run(main()) == [pauses * TURNS_BETWEEN_SLICES for pauses in (0, 1, 2, 3, 3)]


def test_what_a_step_raises_ends_the_work(clock: list[float]) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("a bad step")

    with pytest.raises(ValueError, match="a bad step"):
        run(Slicer(slice_seconds=0), failing())
