"""Sessions of memory tracking: what they find, and that tracing is off when they are over."""

from __future__ import annotations

import os
import tracemalloc
from contextlib import closing

import pytest

from ordinaut_ext_observability.profiling.memory import MAX_SNAPSHOTS, MemoryTracker


def test_a_comparison_names_the_leaks_line_and_ends_the_session() -> None:
    tracker, kept = MemoryTracker(), []
    assert tracker.take_snapshot("start")
    kept += [bytearray(1000) for _ in range(500)]
    line = f"{__file__}:{test_a_comparison_names_the_leaks_line_and_ends_the_session.__code__.co_firstlineno + 3}"
    assert tracker.take_snapshot("end")
    first, *_ = tracker.compare_snapshots("start", "end")
    assert first.startswith(f"{line}: ") and 480 < float(first.split()[-2]) < 600
    assert not tracemalloc.is_tracing()
    _, count, grown = tracker.growth("start", "end")[0]
    assert (grown, count >= 500) == (line, True)
    assert tracker.compare_snapshots("start", "unknown") == []


def test_tracing_is_off_after_an_error_and_stays_on_where_it_was() -> None:
    with pytest.raises(ZeroDivisionError), closing(MemoryTracker()) as tracker:
        assert tracker.take_snapshot("start") and tracemalloc.is_tracing()
        1 / 0
    assert not tracemalloc.is_tracing()
    tracemalloc.start(3)
    try:
        with closing(MemoryTracker()) as tracker:
            assert tracker.take_snapshot("start")
        assert (tracemalloc.is_tracing(), tracemalloc.get_traceback_limit()) == (True, 3)
    finally:
        tracemalloc.stop()


def test_one_session_runs_at_a_time_with_so_many_snapshots() -> None:
    with closing(MemoryTracker()) as first, closing(MemoryTracker()) as second:
        assert [first.take_snapshot(str(number)) for number in range(MAX_SNAPSHOTS)] == [True] * MAX_SNAPSHOTS
        assert not first.take_snapshot("one more")
        assert not second.take_snapshot("start")
        first.close()
        assert second.take_snapshot("start")
    assert not tracemalloc.is_tracing()


def test_a_session_nobody_ends_is_ended(monkeypatch: pytest.MonkeyPatch, eventually: object) -> None:
    monkeypatch.setattr("ordinaut_ext_observability.profiling.memory.LONGEST_SECONDS", 0.01)
    tracker = MemoryTracker()
    tracker.take_snapshot("start")
    assert eventually(lambda: not tracemalloc.is_tracing())  # type: ignore[operator]
    assert tracker.take_snapshot("in another session")
    tracker.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
def test_a_forked_child_traces_nothing() -> None:
    with closing(MemoryTracker()) as tracker:
        tracker.take_snapshot("start")
        child = os.fork()
        if child == 0:
            with closing(MemoryTracker()) as own:
                os._exit(int(tracemalloc.is_tracing()) + 2 * (not own.take_snapshot("start")))
        assert os.waitpid(child, 0)[1] == 0
        assert tracemalloc.is_tracing()
