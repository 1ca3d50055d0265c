"""The other algorithms that count once: serial ids, the counts of workers, and windows."""

from __future__ import annotations

from pydantic import TypeAdapter

from ordinaut_ext_observability.collectors.windows import IdWindow
from ordinaut_ext_observability.collectors.tables import WorkersCollector
from ordinaut_ext_observability.collectors.windows import WindowCounts

NOW = 1_700_000_000.0


def copied(counter):
    adapter = TypeAdapter(type(counter))
    return adapter.validate_json(adapter.dump_json(counter))


class TestSerialIds:
    def test_ids_above_the_highest_are_new(self):
        ids = IdWindow()
        ids.begin([3, 2, 1], NOW)
        assert ids.advance([4, 5], NOW + 15) == [4, 5]
        assert ids.highest == 5
        assert ids.advance([], NOW + 30) == []

    def test_an_id_committed_after_higher_ones_is_counted_once(self):
        ids = IdWindow()
        ids.begin([1], NOW)
        assert ids.advance([2, 5], NOW + 15) == [2, 5]
        assert sorted(ids.missing) == [3, 4]
        assert ids.advance([3], NOW + 30) == [3]
        assert ids.advance([3], NOW + 45) == []
        assert sorted(copied(ids).missing) == [4]

    def test_an_id_not_committed_when_counting_begins_is_counted(self):
        ids = IdWindow()
        ids.begin([10, 8], NOW)
        assert sorted(ids.missing) == [9]
        assert ids.advance([9], NOW + 15) == [9]

    def test_an_id_rolled_back_is_given_up(self):
        ids = IdWindow()
        ids.begin([1], NOW)
        ids.advance([3], NOW)
        ids.advance([], NOW + 121)
        assert sorted(ids.missing) == []

    def test_a_sequence_that_jumps_is_not_a_million_transactions(self):
        ids = IdWindow()
        ids.begin([1], NOW)
        ids.advance([10_000_000, 10_000_003], NOW)
        assert len(ids.missing) == 5000
        assert {10_000_001, 10_000_002, 9_999_999} <= set(ids.missing)

    def test_an_empty_table(self):
        ids = IdWindow()
        ids.begin([], NOW)
        assert ids.highest == 0
        assert ids.advance([1, 2], NOW) == [1, 2]


def worker(name, processed, *, created_at=NOW, last_seen=NOW):
    return name, processed, created_at, last_seen


class TestProcessed:
    def test_only_what_is_added_counts(self):
        counter = WorkersCollector()
        counter.begin(NOW, 100, [worker("a", 60)])
        assert counter.advance([worker("a", 60)]) == 0
        assert counter.advance([worker("a", 65), worker("b", 3, created_at=NOW + 1)]) == 8
        assert counter.total == 108

    def test_a_row_that_is_deleted_or_starts_anew_takes_nothing_back(self):
        counter = WorkersCollector()
        counter.begin(NOW, 60, [worker("a", 60)])
        assert counter.advance([]) == 0
        assert counter.advance([worker("a", 2)]) == 0
        assert counter.advance([worker("a", 61)]) == 1

    def test_a_worker_silent_since_before_the_beginning_is_at_its_baseline(self):
        counter = WorkersCollector()
        counter.begin(NOW, 60, [])
        assert counter.advance([worker("a", 60, created_at=NOW - 9)]) == 0
        assert copied(counter).advance([worker("a", 62, created_at=NOW - 9)]) == 2


class TestWindows:
    def test_what_happened_in_the_last_minute_hour_and_day(self):
        counts = WindowCounts()
        for ago in (10, 100, 4000):
            counts.add(NOW - ago, successes=1)
        counts.add(NOW - 10, failures=2)
        assert counts.sums(NOW) == {"minute": (1, 2), "hour": (2, 2), "day": (3, 2)}
        assert copied(counts).sums(NOW + 60) == {"minute": (0, 0), "hour": (2, 2), "day": (3, 2)}
        assert counts.sums(NOW + 90_000) == {"minute": (0, 0), "hour": (0, 0), "day": (0, 0)}
