"""What a process shows while others count, end, are killed, stopped or cut off, and while the store is away."""

from __future__ import annotations

from typing import Any

import pytest

from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.relay.members import EXPIRY_INTERVALS

LONG = EXPIRY_INTERVALS + 6


def test_a_reader_shows_what_a_worker_counted_within_three_intervals(place: Any) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.count(3)
    api.count(4)
    place.pass_intervals(4)
    assert api.shown() == 7


def test_two_readers_show_the_same_at_any_moment(place: Any) -> None:
    one, other, worker = place.start(serves=True), place.start(serves=True), place.start()
    for _ in range(20):
        worker.count(1)
        place.pass_intervals(0.5)
        if len({one.shown(), other.shown()}) > 1:
            pytest.fail("they differ")
    place.pass_intervals(4)
    assert one.shown() == other.shown() == 20


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_counts_of_a_process_that_is_gone_stay(place: Any, how: str) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.count(5)
    place.pass_intervals(2)
    if how == "ended":
        worker.count(1)
        worker.end()
    place.leave(worker)
    sums = []
    for _ in range(2 * LONG):
        place.pass_intervals(0.5)
        sums.append(api.shown())
    assert sums == sorted(sums)
    assert sums[-1] == (6 if how == "ended" else 5)
    assert len({path.name.split(".")[0] for path in place.vector_files()}) == 1


def test_a_process_that_ends_in_the_epoch_in_which_it_was_read_is_counted_in_full(place: Any) -> None:
    """The reader had a vector of that epoch before the last one took its place."""
    api, worker = place.start(serves=True), place.start()
    place.pass_intervals(5)
    worker.tick()
    api.tick()
    worker.count(5)
    worker.end()
    place.leave(worker)
    place.pass_intervals(LONG)
    assert api.shown() == 5
    assert api.relay.process_count == 1


def test_a_worker_that_publishes_twice_in_an_epoch_is_the_same_to_both_readers(place: Any) -> None:
    one, other, worker = place.start(serves=True), place.start(serves=True), place.start()
    worker.count(1)
    place.pass_intervals(5)
    worker.relay._publish(worker.store)
    one.tick()
    worker.count(5)
    worker.relay._publish(worker.store)
    other.tick()
    sums = []
    place.leave(worker)
    for _ in range(10):
        place.pass_intervals(0.5)
        sums += [one.shown(), other.shown()]
    assert sums == sorted(sums)
    assert sums[-1] == 6


def test_a_worker_that_was_stopped_for_long_counts_on_under_a_new_id(place: Any) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.count(5)
    place.pass_intervals(4)
    before = worker.relay._incarnation.id
    place.leave(worker)
    place.pass_intervals(LONG)
    worker.count(2)
    place.processes.append(worker)
    place.pass_intervals(4)
    assert worker.relay._incarnation.id != before
    assert api.shown() == 7


def test_a_worker_that_only_was_cut_off_from_the_store_loses_nothing(place: Any, unavailable: Exception) -> None:
    """It tries all the while; others see it as silent and fold it."""
    api, worker = place.start(serves=True), place.start()
    worker.count(1)
    place.pass_intervals(4)
    worker.store.failure = unavailable
    for _ in range(LONG):
        worker.count(1)
        place.pass_intervals(1)
    worker.store.failure = None
    place.pass_intervals(4)
    assert api.shown() == 1 + LONG


def test_a_worker_whose_answers_are_lost_counts_once(place: Any, unavailable: Exception) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.store.failure, worker.store.after = unavailable, True
    for _ in range(5):
        worker.count(1)
        place.pass_intervals(1)
    place.leave(worker)
    place.pass_intervals(LONG)
    worker.store.failure = None
    worker.count(1)
    place.processes.append(worker)
    place.pass_intervals(4)
    assert api.shown() == 6


def test_a_lost_store_is_seeded(place: Any) -> None:
    api, ended, worker = place.start(serves=True), place.start(), place.start()
    ended.count(5)
    ended.end()
    place.leave(ended)
    worker.count(2)
    place.pass_intervals(10)
    place.lose()
    sums = []
    for _ in range(12):
        worker.count(1)
        place.pass_intervals(0.5)
        sums.append(api.shown())
    place.pass_intervals(4)
    assert sums == sorted(sums)
    assert (sums[0], api.shown()) == (7, 19)


def test_after_a_loss_a_process_that_was_folded_before_is_still_known(place: Any) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.count(5)
    place.pass_intervals(2)
    place.leave(worker)
    place.pass_intervals(LONG)
    place.lose()
    worker.count(1)
    worker.tick()  # before any reader noticed
    place.processes.append(worker)
    place.pass_intervals(4)
    assert api.shown() == 6


@pytest.mark.parametrize("restarts", [1, 2])
def test_api_processes_restarted_one_by_one_never_show_less(place: Any, restarts: int) -> None:
    worker, first = place.start(), place.start(serves=True)
    worker.count(9)
    first.count(4)
    place.pass_intervals(5)
    for _ in range(restarts):
        place.leave(first)
        first = place.start(serves=True)
        assert first.shown() == 13
        place.pass_intervals(5)
        assert first.shown() == 13


def test_alone_without_the_store_an_api_process_counts_on(place: Any, unavailable: Exception) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.count(2)
    place.pass_intervals(4)
    api.store.failure = worker.store.failure = unavailable
    sums = []
    for _ in range(20):
        api.count(1)
        worker.count(1)
        place.pass_intervals(0.5)
        sums.append(api.shown())
    assert sums == sorted(sums)
    place.pass_intervals(3)
    assert api.shown() == 22
    api.store.failure = worker.store.failure = None
    place.pass_intervals(4)
    assert api.shown() == 42


def test_without_the_store_several_api_processes_show_the_same_counts_or_none(
    place: Any, unavailable: Exception
) -> None:
    """One has read the last epoch, the other has not: whoever asks them in turn must not see the sums go back."""
    one, other, worker = place.start(serves=True), place.start(serves=True), place.start()
    place.pass_intervals(6)
    for _ in range(6):
        worker.count(1)
        place.pass_intervals(1)
    for store in (other.store, worker.store):
        store.failure = unavailable
    place.pass_intervals(0.5)
    one.store.failure = unavailable
    sums = []
    for _ in range(20):
        place.pass_intervals(0.5)
        sums += [process.shown() for process in (one, other) if process.shows_counts()]
    assert not one.shows_counts()
    assert not other.shows_counts()
    for store in (one.store, other.store, worker.store):
        store.failure = None
    for _ in range(10):
        place.pass_intervals(0.5)
        sums += [process.shown() for process in (one, other) if process.shows_counts()]
    assert sums == sorted(sums)
    assert sums[-1] == 6


def test_when_the_store_comes_back_empty_several_api_processes_agree(place: Any) -> None:
    """One has read the worker's last vector, the other has not."""
    one, other, worker = place.start(serves=True), place.start(serves=True), place.start()
    worker.count(1)
    place.pass_intervals(6)
    worker.count(1)
    place.leave(worker)
    place.clock.now += 1.0
    worker.tick()
    place.clock.now += 1.0
    worker.tick()
    one.tick()
    place.lose()
    sums = []
    for _ in range(20):
        for process in (other, one):
            process.tick()
            if process.shows_counts():
                sums.append(process.shown())
        place.clock.now += 1.0
    assert sums == sorted(sums)
    assert sums[-1] == 2


def test_a_stopped_api_process_that_goes_on_shows_nothing_old(place: Any) -> None:
    one, other, worker = place.start(serves=True), place.start(serves=True), place.start()
    worker.count(1)
    place.pass_intervals(4)
    place.leave(other)
    worker.count(5)
    place.pass_intervals(6)
    assert one.shown() == 6
    other.tick()
    assert other.shown() == 6


def test_a_killed_process_has_no_gauges_after_two_intervals(place: Any) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.metrics.worker_states.labels("w", "busy").set(1)
    place.pass_intervals(1.5)
    assert api.series("orchestrator_worker_state") == {("w", "busy"): 1}
    place.leave(worker)
    place.pass_intervals(2.5)
    assert api.series("orchestrator_worker_state") == {}


def test_a_process_that_ended_in_order_has_no_gauges_at_once(place: Any) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.metrics.worker_states.labels("w", "busy").set(1)
    place.pass_intervals(1)
    worker.end()
    place.leave(worker)
    place.pass_intervals(0.5)
    assert api.series("orchestrator_worker_state") == {}


def test_a_damaged_vector_does_not_keep_others_from_being_folded(place: Any) -> None:
    """As after a loss of power; the counts that could be read are kept."""
    api, damaged, ended = place.start(serves=True), place.start(), place.start()
    damaged.count(2)
    ended.count(3)
    place.pass_intervals(2)
    place.leave(damaged)
    place.leave(ended)
    own = f"{damaged.relay._incarnation.id}."
    newest = max((path for path in place.vector_files() if path.name.startswith(own)), key=lambda path: path.name)
    epoch, sequence = map(int, newest.name.split(".")[1:])
    place.write_vector(f"{own}{epoch + 1}.{sequence + 1}", b"")
    place.pass_intervals(LONG)
    assert api.shown() == 5
    assert {path.name.split(".")[0] for path in place.vector_files()} == {api.relay._incarnation.id}


def test_a_process_of_which_nothing_can_be_read_leaves_nothing_behind(place: Any) -> None:
    api = place.start(serves=True)
    stray = place.write_vector(f"{'a' * 32}.850000000.1", b"another version's")
    place.pass_intervals(LONG)
    assert not stray.exists()
    assert api.internal_errors()


def test_the_clock_of_the_store_may_be_set_back(place: Any) -> None:
    api, worker = place.start(serves=True), place.start()
    worker.count(1)
    place.pass_intervals(4)
    real, ahead = place.clock.wall, 100.0
    place.clock.wall = lambda: real() - ahead
    sums = []
    for _ in range(20):
        worker.count(1)
        place.pass_intervals(0.5)
        sums.append(api.shown())
    place.pass_intervals(4)
    assert sums == sorted(sums)
    assert api.shown() == 21


def test_a_series_never_goes_back_when_labels_are_beyond_their_budget(place: Any) -> None:
    """The series of a worker that ends is in the retired total under the name it was shown with."""
    budgets = LabelBudgets(default=3)
    api, long_lived = place.start(serves=True, budgets=budgets), place.start(budgets=budgets)
    long_lived.count(5, "long-lived")
    place.pass_intervals(4)
    highest: dict[str, float] = {}
    for number in range(4):
        short = place.start(budgets=budgets)
        short.count(1, f"short-{number}")
        place.pass_intervals(1)
        short.end()
        place.leave(short)
        place.pass_intervals(8)
    long_lived.end()
    place.leave(long_lived)
    for _ in range(20):
        shown = api.shown_by_worker()
        assert {name: value for name, value in highest.items() if shown.get(name, 0) < value} == {}
        highest = shown
        place.pass_intervals(0.5)
    assert api.shown() == 9


def test_two_readers_name_the_same_series_when_labels_are_beyond_their_budget(place: Any) -> None:
    budgets = LabelBudgets(default=3)
    first, long_lived = place.start(serves=True, budgets=budgets), place.start(budgets=budgets)
    long_lived.count(5, "long-lived")
    place.pass_intervals(4)
    for number in range(4):
        short = place.start(budgets=budgets)
        short.count(1, f"short-{number}")
        place.pass_intervals(1)
        short.end()
        place.leave(short)
        place.pass_intervals(8)
    second = place.start(serves=True, budgets=budgets)
    place.pass_intervals(4)
    assert first.shown_by_worker() == second.shown_by_worker()


def test_a_hundred_short_lived_processes_leave_only_the_total(place: Any) -> None:
    from ordinaut_ext_observability.relay.incarnation import Incarnation

    api = place.start(serves=True)
    for number in range(5):
        process = place.start()
        process.count(1)
        for _ in range(20):
            # Each is another process to the relay, with the counts of this one.
            incarnation = Incarnation(process.metrics.registry.families, lambda: False)
            incarnation.publish(process.store, ended=number % 2 == 0)
        process.end()
        place.leave(process)
        place.pass_intervals(1)
    place.pass_intervals(LONG + 10)
    assert api.shown() == 5 * 21
    assert len({path.name.split(".")[0] for path in place.vector_files()}) == 1
    assert api.relay.process_count == 1


def test_without_any_api_process_workers_fold_what_is_left(place: Any) -> None:
    worker = place.start()
    for _ in range(3):
        short = place.start()
        short.count(1)
        short.end()
        place.leave(short)
    place.pass_intervals(2 * EXPIRY_INTERVALS + 3)
    assert {path.name.split(".")[0] for path in place.vector_files()} == {worker.relay._incarnation.id}
    api = place.start(serves=True)
    place.pass_intervals(4)
    assert api.shown() == 3


def test_what_scrapes_bring_up_to_date_is_published_without_them(place: Any) -> None:
    api, other = place.start(serves=True), place.start()
    pending = [1]
    other.metrics.registry.refresh_with(lambda: pending and other.count(pending.pop()))
    place.pass_intervals(4)
    assert api.shown() == 1
