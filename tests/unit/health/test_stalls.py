"""When a stall is noticed, and how often one is captured. The clock is moved by hand, and the watch is asked."""

from __future__ import annotations

import threading
from typing import Any

from ordinaut_ext_observability.health.lifecycle import BEAT_SECONDS, LoopWatch
from ordinaut_ext_observability.health.stalls import STALL_SECONDS, StallWatch
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry


class BlockedLoop:
    """A loop that runs nothing."""

    def call_later(self, *_: Any) -> None: ...

    def is_closed(self) -> bool:
        return False


def test_each_stall_counts_once_and_one_a_minute_is_captured(clock: Any) -> None:
    loop_watch, metrics, told = LoopWatch(clock), Metrics(Registry()), list[Any]()
    stalls = StallWatch(loop_watch, metrics, clock, lambda _event, **fields: told.append(fields))  # type: ignore[misc, arg-type]
    assert stalls.look() == STALL_SECONDS  # nothing is watched
    for minute in range(3):
        loop_watch.start(BlockedLoop())  # type: ignore[arg-type]
        assert stalls.look() == STALL_SECONDS
        clock.advance(BEAT_SECONDS + 0.75)
        assert stalls.look() == STALL_SECONDS - 0.75
        for _ in range(4):
            clock.advance(0.25 if minute else 5)
            assert stalls.look() == STALL_SECONDS
        loop_watch.stop()
        assert stalls.look() == STALL_SECONDS
        clock.advance(0 if minute else 60)
    assert metrics.event_loop_stalls.labels("api").value == 3
    assert len(told) == 2
    assert any("test_stalls.py:" in line for line in told[0]["stack"])
    assert loop_watch.thread_id == threading.get_ident()
    assert loop_watch.last_stall is not None
    assert loop_watch.last_stall["blocked_seconds"] == 1.0
