"""The part that keeps history: when the next sample is due, and what a forked child has of it."""

from __future__ import annotations

import asyncio

import pytest

from tests.clock import ManualClock
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.history import KeptHistory
from ordinaut_ext_observability.settings.parts import HistorySettings


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def kept(clock):
    metrics = Metrics(Registry())
    part = KeptHistory(HistorySettings(), metrics, clock, lambda: asyncio.sleep(0, metrics.registry))
    part._started_at = clock.monotonic()
    return part


def test_samples_are_due_at_multiples_of_the_interval_after_the_start(kept, clock):
    clock.advance(0.5)
    assert asyncio.run(kept.take_sample()) == 14.5
    clock.advance(14.5 + 16.0)
    assert asyncio.run(kept.take_sample()) == 14.0


def test_a_forked_child_begins_with_nothing_and_can_go_on(kept, in_forked_child):
    asyncio.run(kept.take_sample())
    assert kept.history.series_count() > 0

    def child():
        before = kept.history.kept_since_ms
        asyncio.run(kept.take_sample())
        return f"{before} {kept.history.count_samples() == kept.history.series_count()}".encode()

    assert in_forked_child(child) == b"None True"


def test_words_say_that_nothing_is_kept_yet_or_why_not(kept, clock):
    assert kept.notes() == {"history": "nothing is kept yet"}
    off = KeptHistory(HistorySettings(enabled=False), kept._metrics, clock, kept._shown)
    off.start(serves=True)
    assert off.notes() == {"history": "off: ORDINAUT_OBS_HISTORY is false"}


def test_the_history_is_the_same_object_after_a_fork_since_rules_know_it(kept):
    asyncio.run(kept.take_sample())
    before = kept.history
    kept.reset_after_fork()
    assert kept.history is before and before.series_count() == 0
    asyncio.run(kept.take_sample())
    assert before.series_count() > 0
