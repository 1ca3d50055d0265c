"""Whether a loop still runs, seen from any thread. Timers are beaten by hand: no test waits."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from ordinaut_ext_observability.health.lifecycle import BEAT_SECONDS, LoopWatch


class ManualLoop:
    """What a watch uses of a loop; timers run when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Any] = []
        self.closed = False

    def call_later(self, delay: float, callback: Any, *arguments: Any) -> None:
        assert delay == BEAT_SECONDS
        self.timers.append(partial(callback, *arguments))

    def is_closed(self) -> bool:
        return self.closed

    def run_timer(self) -> None:
        self.timers.pop(0)()


@pytest.fixture
def loop() -> Any:
    return ManualLoop()


def test_without_a_loop_nothing_is_judged(clock: Any) -> None:
    watch = LoopWatch(clock)
    clock.advance(100)
    assert (watch.watching, watch.lag_seconds(), watch.blocked_seconds(), watch.take_largest_lag()) == (False, 0, 0, 0)
    watch.stop()


def test_a_loop_that_keeps_up_is_not_late(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    for _ in range(4):
        clock.advance(BEAT_SECONDS)
        loop.run_timer()
    assert (watch.watching, watch.lag_seconds(), watch.blocked_seconds()) == (True, 0.0, 0.0)


def test_a_blocked_loop_is_late_by_all_the_time_since_the_timer_was_due(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    clock.advance(BEAT_SECONDS + 7)
    assert (watch.blocked_seconds(), watch.lag_seconds()) == pytest.approx((7, 7))
    clock.advance(1)
    assert (watch.blocked_seconds(), watch.lag_seconds()) == pytest.approx((8, 8))


def test_once_it_runs_again_it_is_not_blocked_and_the_lag_is_that_of_its_last_timer(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    clock.advance(BEAT_SECONDS + 7)
    loop.run_timer()
    assert watch.blocked_seconds() == 0.0
    assert watch.lag_seconds() == pytest.approx(7)
    clock.advance(BEAT_SECONDS)
    loop.run_timer()
    assert watch.lag_seconds() == 0.0


def test_largest_lag_is_told_once(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    for late in (3, 5, 0, 0):
        clock.advance(BEAT_SECONDS + late)
        loop.run_timer()
    assert watch.take_largest_lag() == pytest.approx(5)
    assert watch.take_largest_lag() == 0.0


def test_largest_lag_counts_the_block_that_still_goes_on(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    clock.advance(BEAT_SECONDS + 2)
    assert watch.take_largest_lag() == pytest.approx(2)


def test_watching_the_same_loop_again_does_nothing(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    clock.advance(BEAT_SECONDS + 3)
    watch.start(loop)
    assert len(loop.timers) == 1
    assert watch.blocked_seconds() == pytest.approx(3)


def test_watching_another_loop_forgets_the_first(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    clock.advance(BEAT_SECONDS + 3)
    other: Any = ManualLoop()
    watch.start(other)
    loop.run_timer()
    assert (loop.timers, len(other.timers)) == ([], 1)
    assert (watch.blocked_seconds(), watch.lag_seconds()) == (0.0, 0.0)


def test_stopped_it_watches_nothing_and_started_again_at_once_one_timer_runs(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    clock.advance(BEAT_SECONDS + 3)
    watch.stop()
    watch.stop()
    assert (watch.watching, watch.blocked_seconds(), watch.lag_seconds()) == (False, 0.0, 0.0)
    watch.start(loop)
    loop.run_timer()
    assert (len(loop.timers), watch.take_largest_lag()) == (1, 0.0)
    watch.stop()
    loop.run_timer()
    assert loop.timers == []


def test_a_closed_loop_is_not_blocked(clock: Any, loop: Any) -> None:
    watch = LoopWatch(clock)
    watch.start(loop)
    loop.closed = True
    clock.advance(100)
    assert (watch.watching, watch.blocked_seconds(), watch.lag_seconds()) == (False, 0.0, 0.0)


def test_a_real_loop_runs_the_timer_again_and_again(clock: Any) -> None:
    watch = LoopWatch(clock)

    async def main() -> None:
        watch.start(asyncio.get_running_loop())
        for _ in range(2):
            clock.advance(BEAT_SECONDS + 1)
            while watch.blocked_seconds():
                await asyncio.sleep(0.01)
        watch.stop()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert not watch.watching
