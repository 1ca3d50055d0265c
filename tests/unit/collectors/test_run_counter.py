"""The cases of counting runs that have a name; stories of all kinds are in the property tests."""

from __future__ import annotations

from pydantic import TypeAdapter

from ordinaut_ext_observability.collectors.runs import Bracket, Lease, Run, RunCounter, merged

NOW = 1_700_000_000.0
HOUR = 3600.0


class Reader:
    """A counter on rows in memory."""

    def __init__(self):
        self.counter = RunCounter()
        self.runs = []

    def read(self, now, *leases, heartbeats=None):
        plan = self.counter.plan(now, leases)
        found = [
            run
            for run in self.runs
            if run.started_at >= plan.since
            or any(b.task == run.task and b.since <= run.started_at <= b.until for b in plan.brackets)
        ]
        return [run.id for run in self.counter.finish(plan, leases, found, heartbeats=heartbeats)]


def lease(owner, *, item=1, since=NOW, until=NOW + 60):
    return Lease(item, owner, "t", since, until)


def test_what_is_there_at_the_first_reading_is_not_counted():
    reader = Reader()
    reader.runs = [Run(1, "t", "a", NOW - 5, True)]
    assert reader.read(NOW) == []
    assert reader.read(NOW + 15) == []


def test_a_run_of_hours_is_counted_at_its_end():
    reader = Reader()
    reader.read(NOW)
    for hour in range(1, 20):
        assert reader.read(NOW + hour * HOUR, lease("a", until=NOW + 70)) == []
    reader.runs = [Run(1, "t", "a", NOW + HOUR - 10, True)]
    assert reader.read(NOW + 20 * HOUR) == [1]
    assert reader.read(NOW + 20 * HOUR + 15) == []


def test_attempts_that_began_at_the_same_time_are_counted_each():
    reader = Reader()
    reader.read(NOW)
    reader.read(NOW + 15, lease("a"))
    reader.runs = [Run(1, "t", "a", NOW + 10, False)]
    assert reader.read(NOW + HOUR, lease("a")) == [1]
    reader.runs.append(Run(2, "t", "a", NOW + 10, True))
    assert reader.read(NOW + 2 * HOUR) == [2]


def test_work_under_way_at_the_first_reading_is_counted_when_it_ends_but_not_its_earlier_attempts():
    reader = Reader()
    reader.runs = [Run(1, "t", "a", NOW - 2 * HOUR, False)]
    under_way = lease("a", since=NOW - 3 * HOUR)
    assert reader.read(NOW, under_way) == []
    reader.runs.append(Run(2, "t", "a", NOW - 2 * HOUR, True))
    assert reader.read(NOW + 15, under_way) == [2]


def test_an_owner_that_lost_its_lease_is_waited_for():
    reader = Reader()
    reader.read(NOW)
    reader.read(NOW + 15, lease("a"))
    reader.read(NOW + 300, lease("b", until=NOW + 360))
    reader.runs = [Run(1, "t", "b", NOW + 300, True)]
    assert reader.read(NOW + 315) == [1]
    reader.read(NOW + HOUR)
    reader.runs.append(Run(2, "t", "a", NOW + 10, True))
    assert reader.read(NOW + 2 * HOUR) == [2]


def test_an_owner_that_lost_its_lease_and_has_moved_on_is_not_waited_for():
    reader = Reader()
    reader.read(NOW)
    reader.read(NOW + 15, lease("a"))
    reader.read(NOW + 300, lease("b", until=NOW + 360))
    assert len(reader.counter.watched) == 2
    reader.read(NOW + 315, lease("b", until=NOW + 360), heartbeats={"a": NOW + 310})
    assert [owner for _, owner in reader.counter.watched] == ["b"]


def test_an_owner_that_never_comes_back_is_forgotten_after_hours():
    reader = Reader()
    reader.read(NOW)
    reader.read(NOW + 15, lease("a"))
    reader.read(NOW + 300)
    reader.read(NOW + 300 + 6 * HOUR)
    assert reader.counter.watched
    reader.read(NOW + 301 + 6 * HOUR)
    assert not reader.counter.watched


def test_a_pause_longer_than_anybody_looks_back_is_said():
    counter = RunCounter()
    counter.finish(counter.plan(NOW, []), [], [])
    plan = counter.plan(NOW + 8 * HOUR, [])
    assert plan.since == NOW + 2 * HOUR
    assert plan.skipped == (NOW - 90, NOW + 2 * HOUR)


def test_work_that_began_too_long_ago_to_be_found_is_unaccounted_for_when_it_ends():
    reader = Reader()
    old = lease("a", since=NOW - 9 * HOUR)
    reader.runs = [Run(9, "other", "b", NOW, True)]
    reader.read(NOW, old)
    reader.runs.append(Run(1, "t", "a", NOW - 8 * HOUR, True))
    assert reader.read(NOW + 15) == []
    assert reader.counter.unaccounted == 1


def test_on_a_host_that_writes_no_runs_none_is_missed():
    reader = Reader()
    reader.read(NOW, lease("a", since=NOW - 9 * HOUR))
    reader.read(NOW + 15)
    assert reader.counter.unaccounted == 0


def test_after_a_reading_that_held_more_than_was_read_the_next_goes_on_there():
    counter = RunCounter()
    counter.finish(counter.plan(NOW, []), [], [])
    plan = counter.plan(NOW + HOUR, [])
    counter.finish(plan, [], [Run(1, "t", "a", NOW + 600, True)], read_until=NOW + 600)
    assert counter.plan(NOW + HOUR + 15, []).since == NOW + 600


def test_a_clock_behind_that_of_the_last_reading_opens_no_gap():
    reader = Reader()
    reader.read(NOW)
    reader.runs = [Run(1, "t", "a", NOW - 50, True)]
    assert reader.read(NOW - HOUR) == [1]
    assert reader.read(NOW + 10) == []


def test_runs_seen_are_forgotten_when_they_cannot_be_read_again():
    reader = Reader()
    reader.read(NOW)
    reader.runs = [Run(number, "t", "a", NOW + number, True) for number in range(100)]
    assert len(reader.read(NOW + 100)) == 100
    assert reader.read(NOW + HOUR) == []
    assert not reader.counter.seen


def test_the_state_survives_a_checkpoint():
    reader = Reader()
    reader.read(NOW)
    reader.runs = [Run(2**64 - 1, "t", "b", NOW + 5, True), Run(1, "u", "b", NOW + 0.125, False)]
    reader.read(NOW + 15, lease("a"))
    adapter = TypeAdapter(RunCounter)
    assert adapter.validate_json(adapter.dump_json(reader.counter)) == reader.counter


def test_minutes_of_a_task_are_not_read_twice():
    assert merged([Bracket("a", 5, 9), Bracket("b", 1, 2), Bracket("a", 1, 6), Bracket("a", 10, 11)]) == [
        Bracket("a", 1, 9),
        Bracket("a", 10, 11),
        Bracket("b", 1, 2),
    ]
