"""Runs held back: all come out, once, as long as they took."""

from __future__ import annotations

import orjson
import pytest

from ordinaut_ext_observability.collectors import held_runs
from ordinaut_ext_observability.collectors.definitions import SystemMetrics
from ordinaut_ext_observability.collectors.held_runs import HeldRuns, RunSeries
from ordinaut_ext_observability.collectors.run_reading import RunsCollector
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry

ONE, OTHER = RunSeries("t", "a", succeeded=True), RunSeries("t", "a", succeeded=False)
BOUNDS = (0.1, 1.0)


def filled():
    held = HeldRuns(BOUNDS)
    for took in (0.1, 0.1, 0.1, 0.4, 0.6, 9.0, None):
        assert held.add(ONE, took)
    assert held.add(OTHER, None)
    return held


def expect_filled(held):
    (one, runs, durations), (other, *others) = held.take()
    assert (one, runs, len(durations)) == (ONE, 7, 6)
    assert sum(durations) == pytest.approx(10.3)
    assert [sum(took <= bound for took in durations) for bound in BOUNDS] == [3, 5]
    assert (other, *others) == (OTHER, 1, [])
    assert held.take() == []


def test_what_waits_comes_out_once():
    expect_filled(filled())


def test_the_state_survives_a_checkpoint():
    other = HeldRuns(BOUNDS)
    other.load(orjson.loads(orjson.dumps(filled().dump())))
    expect_filled(other)


def test_of_a_version_with_other_buckets_all_come_out():
    other = HeldRuns((5.0,))
    other.load(filled().dump())
    (_, runs, durations), _ = other.take()
    assert (runs, len(durations)) == (7, 6)


def test_beyond_a_number_of_series_none_waits(monkeypatch):
    monkeypatch.setattr(held_runs, "_MOST_SERIES", 1)
    held = HeldRuns(BOUNDS)
    assert held.add(ONE, 1.0)
    assert not held.add(OTHER, 1.0)
    assert held.add(ONE, 1.0)


def test_that_runs_are_reported_is_known_to_the_next_leader_and_not_to_an_older_version():
    reported, metrics = [True], SystemMetrics(Metrics(Registry()))
    before, after = (RunsCollector(metrics, lambda: reported[0]) for _ in range(2))
    assert before.reported
    reported[0] = False
    state = orjson.loads(orjson.dumps(before.dump()))
    after.load(state)
    assert after.reported
    after.reset()
    del state["held"], state["reported"]
    after.load(state)
    assert not after.reported
