"""What a publisher adds: exact, each number once, under the budgets, and nothing that makes no sense."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.sqlite import MEMORY
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Histogram
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.exchange import Exchange
from ordinaut_ext_observability.relay.series_list import BILLION
from ordinaut_ext_observability.relay.store import RelayStore
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore


class Process:
    """A process with a few families, which shows the total."""

    def __init__(self, store: RelayStore, *families: AnyFamily, budgets: LabelBudgets | None = None) -> None:
        self.metrics = Metrics(Registry(budgets))
        registry = Registry()
        for family in families:
            registry.register(family)
        self.exchange = Exchange(lambda: store, [registry], self.metrics)

    def shown(self, *, alone: bool = False) -> dict[tuple[str, tuple[str, ...]], Any]:
        if alone:
            self.exchange.show_alone(self.exchange.merged)
        else:
            self.exchange.publish_and_read()
        return {
            (family.name, child.label_values): (child.sum, child.counts)
            if isinstance(family, Histogram)
            else child.value
            for family in self.exchange.merged.registry.families()
            for child in family.children()
        }

    @property
    def left_out(self) -> float:
        return self.metrics.relay_failures.labels("number").value


@pytest.fixture
def store() -> Iterator[RelayStore]:
    store = SqliteRelayStore(MEMORY, Clock())
    yield store
    store.close()


def test_sums_are_exact_in_any_order(store: RelayStore) -> None:
    counters = [Counter("seconds_total", "", ()) for _ in range(3)]
    processes = [Process(store, counter) for counter in counters]
    chance, true = random.Random(5), Fraction(0)
    for _ in range(300):
        at, amount = chance.randrange(3), round(chance.uniform(0, 9), chance.randrange(9))
        counters[at].labels().inc(amount)
        processes[at].exchange._publish()
    for counter in counters:
        true += Fraction(round(counter.labels().value * BILLION), BILLION)
    assert {process.shown()["seconds_total", ()] for process in processes} == {float(true)}


def test_series_that_began_again_is_counted_on(store: RelayStore) -> None:
    counter = Counter("runs_total", "", ("task",))
    process = Process(store, counter)
    counter.labels("a").inc(5)
    assert process.shown()["runs_total", ("a",)] == 5
    counter.remove("a")
    counter.labels("a").inc(2)
    assert process.shown()["runs_total", ("a",)] == 7
    counter.clear()
    assert process.shown()["runs_total", ("a",)] == 7


def test_histogram_of_values_below_zero_is_shown_as_it_is(store: RelayStore) -> None:
    histogram = Histogram("drift_seconds", "", (), bounds=(0.0, 1.0))
    process = Process(store, histogram)
    for value in (0.5, -2.25, -1.0, 7.0):
        histogram.labels().observe(value)
        process.exchange._publish()
    assert process.shown()["drift_seconds", ()] == (4.25, [2, 1, 1])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -3, 2.0**80])
def test_number_that_makes_no_sense_is_left_out_and_counted_once(store: RelayStore, number: float) -> None:
    counter, good = Counter("odd_total", "", ("x",)), Counter("good_total", "")
    process = Process(store, counter, good)
    counter.labels("a").inc(2)
    assert process.shown()["odd_total", ("a",)] == 2
    for count in range(1, 4):
        counter.labels("a").value = number
        good.labels().inc()
        shown = process.shown()
        assert (shown["odd_total", ("a",)], shown["good_total", ()]) == (2, count)
    assert process.left_out == 1


def test_sum_that_is_nan_does_not_hide_the_buckets(store: RelayStore) -> None:
    histogram = Histogram("seconds", "", (), bounds=(1.0,))
    process = Process(store, histogram)
    histogram.labels().observe(0.5)
    assert process.shown()["seconds", ()] == (0.5, [1, 0])
    histogram.labels().observe(math.nan)
    assert process.shown()["seconds", ()] == (0.5, [1, 1])


def test_label_values_are_under_the_budget_of_all_processes(store: RelayStore) -> None:
    budgets = LabelBudgets(default=3)
    counters = [Counter("workers_total", "", ("worker",)) for _ in range(4)]
    processes = [Process(store, counter, budgets=budgets) for counter in counters]
    for number, (counter, process) in enumerate(zip(counters, processes, strict=True)):
        for name in range(2):
            counter.labels(f"w{2 * number + name}").inc()
        process.exchange._publish()
    expected = {("w0",): 1, ("w1",): 1, ("w2",): 1, ("__other__",): 5}
    for process in processes:
        assert {labels: value for (_, labels), value in process.shown().items()} == expected


def test_series_without_a_count_are_shown_too(store: RelayStore) -> None:
    """A rate from nothing to one is seen only where there was a zero before."""
    counter = Counter("errors_total", "", ("reason",))
    counter.labels("timeout")
    Process(store, counter).exchange._publish()
    assert Process(store, Counter("errors_total", "", ("reason",))).shown() == {("errors_total", ("timeout",)): 0}


def test_more_than_fits_into_one_publication(store: RelayStore) -> None:
    budgets = LabelBudgets(default=10_000)
    counter = Counter("many_total", "", ("x",), budgets=budgets)
    process = Process(store, counter, budgets=budgets)
    for number in range(7000):
        counter.labels(str(number)).inc(number)
    shown = process.shown()
    assert all(shown["many_total", (str(number),)] == number for number in range(7000))


def test_shown_alone_and_merged_again_nothing_counts_twice(store: RelayStore) -> None:
    """What is `__other__` in the total has its own label while the process is alone, and loses it again."""
    budgets = LabelBudgets(default=1)
    counters = [Counter("workers_total", "", ("worker",)) for _ in range(2)]
    one, other = (Process(store, counter, budgets=budgets) for counter in counters)
    counters[0].labels("w0").inc()
    one.exchange._publish()
    counters[1].labels("w1").inc()
    assert sum(other.shown().values()) == 2
    counters[1].labels("w1").inc()
    for _ in range(2):
        assert sum(other.shown(alone=True).values()) == 3
    assert other.shown() == {("workers_total", ("w0",)): 1, ("workers_total", ("__other__",)): 2}


def test_shown_alone_a_sum_may_fall_and_a_series_may_begin_again(store: RelayStore) -> None:
    histogram, counter = Histogram("drift_seconds", "", (), bounds=(0.0, 1.0)), Counter("runs_total", "", ("task",))
    process = Process(store, histogram, counter)
    histogram.labels().observe(4.0)
    counter.labels("a").inc(5)
    process.shown()
    histogram.labels().observe(-3.0)
    counter.remove("a")
    counter.labels("a").inc(2)
    expected = {("drift_seconds", ()): (1.0, [1, 0, 1]), ("runs_total", ("a",)): 7}
    assert process.shown(alone=True) == process.shown(alone=True) == expected
    assert process.shown() == expected
