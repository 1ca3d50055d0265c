"""Samples of metrics and results of rules, as clocks are set and groups of rules change."""

from __future__ import annotations

from array import array

import pytest

from ordinaut_ext_observability.history import history as module
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, STALE, is_stale, labels_of
from ordinaut_ext_observability.web.endpoints.releases import _read_calls
from ordinaut_ext_observability.web.page.values import read_values

UP = ((NAME, "up"),)
RATE = ((NAME, "job:rate"), ("job", "api"))
DAY_MS = 86_400_000


@pytest.fixture
def history(clock):
    return History(clock, retention_seconds=3600, max_series=100)


def trim(kept):
    for _ in kept.trim():
        pass


def tick(history, value):
    time_ms = history.begin_tick()
    history.append(time_ms, [history.table.open(UP)], array("d", [value]))
    trim(history)
    return time_ms


def record(history, *given):
    refused = []

    def steps():
        refused.append((yield from history.record(*given)))

    for _ in steps():
        pass
    return refused[0]


def test_nothing_is_kept_before_the_first_tick(history, selected):
    assert history.kept_since_ms is None
    assert selected(history) == {}


def test_ticks_have_the_time_of_the_wall_clock(history, clock, selected):
    first = tick(history, 1.0)
    assert first == round(clock.wall() * 1000)
    clock.advance(15)
    tick(history, 2.0)
    assert selected(history) == {"up": [(first, 1.0), (first + 15_000, 2.0)]}
    assert history.kept_since_ms == first


def test_a_clock_set_back_takes_metrics_and_results_with_it(history, clock, selected):
    first = tick(history, 1.0)
    record(history, "group", first, [(RATE, 5.0)])
    clock.advance(15)
    clock.set_by -= 3600
    second = tick(history, 2.0)
    assert second == first + 15_000 - 3_600_000
    assert selected(history) == {
        "up": [(second - 15_000, 1.0), (second, 2.0)],
        "job:rate,job=api": [(second - 15_000, 5.0)],
    }


def test_who_reads_after_a_clock_was_set_back_moves_nothing_since_a_tick_may_be_under_way(history, clock):
    tick(history, 1.0)
    clock.set_by -= 3600
    assert not list(read_values(history, "workers", 0))
    _read_calls(history)
    assert history.shifted_ms == 0
    tick(history, 2.0)
    assert history.shifted_ms == -3_600_000


def test_a_clock_set_forward_leaves_a_gap_and_what_is_too_old_is_dropped(history, clock, selected):
    first = tick(history, 1.0)
    clock.advance(15)
    clock.set_by += 600
    second = tick(history, 2.0)
    assert selected(history)["up"] == [(first, 1.0), (first + 615_000, 2.0)]
    clock.advance(15)
    clock.set_by += 3500
    third = tick(history, 3.0)
    assert selected(history)["up"] == [(second, 2.0), (third, 3.0)]
    assert history.kept_since_ms == second


def test_a_clock_put_right_bit_by_bit_moves_nothing_and_no_time_stands_twice(history, clock, selected):
    first = tick(history, 1.0)
    clock.set_by -= 0.9
    tick(history, 2.0)
    clock.set_by -= 0.9
    tick(history, 3.0)
    assert selected(history)["up"] == [(first, 1.0), (first + 1, 2.0), (first + 2, 3.0)]


def test_results_that_are_missing_from_the_next_evaluation_have_ended(history, selected):
    record(history, "group", 1000, [(UP, 1.0), (RATE, 5.0)])
    record(history, "other", 1500, [])
    record(history, "group", 61_000, [(UP, 2.0)])
    assert selected(history)["up"] == [(1000, 1.0), (61_000, 2.0)]
    (_, kept), (time_ms, ended) = selected(history)["job:rate,job=api"]
    assert (kept, time_ms) == (5.0, 61_000)
    assert is_stale(ended)


def test_results_are_kept_for_three_days_and_metrics_for_an_hour(history, clock, selected):
    first = tick(history, 1.0)
    record(history, "group", first, [(RATE, 5.0)])
    clock.advance(2.5 * 86_400)
    record(history, "group", tick(history, 2.0), [(RATE, 6.0)])
    assert [value for _, value in selected(history)["up"]] == [2.0]
    assert [value for _, value in selected(history)["job:rate,job=api"]] == [5.0, 6.0]
    clock.advance(86_400)
    record(history, "group", tick(history, 3.0), [(RATE, 7.0)])
    assert [value for _, value in selected(history)["job:rate,job=api"]] == [6.0, 7.0]


def test_results_of_rules_are_known_for_longer_than_metrics(history, clock):
    first = tick(history, 1.0)
    record(history, "group", first, [(RATE, 5.0)])
    clock.advance(86_400)
    later = tick(history, 2.0)
    record(history, "group", later, [(RATE, 6.0)])
    assert history.since_ms(["rate", "job:rate"]) == first
    assert history.since_ms(["job:rate", "up"]) == history.since_ms(["nothing"]) == later


def test_a_group_that_is_there_no_more_is_dropped_after_the_retention(history, clock, selected):
    record(history, "gone", tick(history, 1.0), [(RATE, 5.0)])
    clock.advance(4 * 86_400)
    tick(history, 2.0)
    assert "job:rate,job=api" not in selected(history)
    assert history.series_count() == 1


def test_a_rule_that_moves_to_another_group_begins_anew(history, selected):
    record(history, "new", 500, [])
    record(history, "old", 1000, [(RATE, 1.0)])
    record(history, "old", 2000, [])
    record(history, "new", 3000, [(RATE, 2.0)])
    assert selected(history) == {"job:rate,job=api": [(3000, 2.0)]}


def test_two_rules_of_a_group_with_the_same_result_leave_the_later(history, selected):
    assert record(history, "group", 1000, [(RATE, 1.0), (RATE, 2.0)]) == 0
    assert selected(history) == {"job:rate,job=api": [(1000, 2.0)]}


def test_results_of_all_groups_share_one_limit_and_say_how_many_had_no_room(history, monkeypatch):
    monkeypatch.setattr(module, "MAX_RECORDED_SERIES", 3)
    results = [(labels_of({NAME: "r", "number": str(number)}), 1.0) for number in range(5)]
    assert record(history, "one", 1000, results[:2]) == 0
    assert record(history, "two", 1000, results[2:]) == 2
    assert record(history, "one", 2000, results[:2]) == 0
    assert history.series_count() == 3


def test_too_many_samples_take_the_oldest_away(history, monkeypatch, selected):
    monkeypatch.setattr(module, "MAX_RECORDED_SAMPLES", 40)
    for number in range(100):
        record(history, "group", number, [(UP, 1.0), (RATE, 2.0)])
    assert [time for time, _ in selected(history)["up"]] == list(range(80, 100))
    trim(history)
    assert history.count_samples() <= 40 + 2 * 16


def test_a_measured_nan_is_not_an_end(history, selected):
    record(history, "group", 1000, [(UP, float("nan"))])
    record(history, "group", 2000, [(UP, STALE)])
    values = [value for _, value in selected(history)["up"]]
    assert list(map(is_stale, values)) == [False, True]


def test_results_are_written_in_steps_and_all_at_once(history, selected):
    steps = history.record("group", 1000, [(UP, 1.0), (RATE, 2.0)])
    for _ in range(2):
        next(steps)
        trim(history)
        assert selected(history) == {}
    assert next(steps, None) is None
    assert selected(history) == {"up": [(1000, 1.0)], "job:rate,job=api": [(1000, 2.0)]}


def test_series_that_ended_in_one_group_make_room_in_another(history, monkeypatch, selected):
    monkeypatch.setattr(module, "MAX_RECORDED_SERIES", 4)
    series = [labels_of({NAME: "r", "number": str(number)}) for number in range(7)]
    record(history, "one", 1000, [(labels, 1.0) for labels in series[:3]])
    record(history, "one", 2000, [(series[0], 1.0)])
    assert record(history, "two", 2000, [(labels, 2.0) for labels in series[3:]]) == 1
    assert sorted(selected(history)) == [f"r,number={number}" for number in (0, 3, 4, 5)]
    assert history.series_count() == 4


def test_results_of_an_evaluation_during_which_the_clock_is_set_back_lie_in_no_future(history, clock, selected):
    began = tick(history, 1.0)
    clock.advance(15)
    clock.set_by -= 3600
    now = tick(history, 2.0)
    record(history, "group", began, [(RATE, 5.0)])
    assert selected(history)["job:rate,job=api"] == [(now, 5.0)]


def test_a_group_that_comes_while_somebody_asks_since_when_disturbs_nobody(history, clock, monkeypatch):
    first = tick(history, 1.0)
    record(history, "a", first, [(RATE, 1.0)])
    has_any = module.Table.has_any

    def while_another_is_recorded(table, names):
        record(history, "b", first, [(labels_of({NAME: "other"}), 1.0)])
        return has_any(table, names)

    monkeypatch.setattr(module.Table, "has_any", while_another_is_recorded)
    assert history.since_ms({"job:rate"}) == first


def test_nobody_looks_at_all_series_to_say_how_much_there_is(history, monkeypatch):
    tick(history, 1.0)
    monkeypatch.setattr(module.Table, "_rows", None)
    assert (history.count_samples(), history.estimate_bytes()) == (1, 708)
