"""What a history gets of a registry is what a scrape shows, text aside."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.family import BLOCK_SERIES, Counter, Gauge, Histogram
from ordinaut_ext_observability.metrics.registry import Registry


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def history(clock):
    return History(clock, retention_seconds=3600.0, max_series=5000)


def take(history, registry, time_ms):
    return sum(1 for _ in history.read(time_ms, registry.families()))


def scraped(registry):
    text = "".join(registry.pieces(openmetrics=False))
    return {
        sample.name
        + "".join(f",{label}={value}" for label, value in sorted(sample.labels.items()) if value): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }


def at(selected, history, time_ms):
    return {key: value for key, [(_, value)] in selected(history, start=time_ms, end=time_ms).items()}


def test_a_tick_has_the_series_and_numbers_of_a_scrape(registry, history, selected):
    requests = registry.register(Counter("requests_total", "R", ("method", "Zone")))
    requests.labels("GET", "").inc(3)
    requests.labels('"\n', "eu").inc(10**9)
    registry.register(Gauge("depth", "D")).labels().set(math.inf)
    seconds = registry.register(Histogram("seconds", "S", ("name",), bounds=(0.1, 1.0, 1e6)))
    seconds.labels("a").observe(0.5)
    seconds.labels("").observe(5e6)
    registry.register(Gauge("never_set", "N"))
    take(history, registry, 1000)
    assert at(selected, history, 1000) == scraped(registry)
    assert at(selected, history, 1000)["requests_total,method=GET"] == 3.0
    assert at(selected, history, 1000)["seconds_bucket,le=+Inf,name=a"] == 1.0


def test_series_come_and_go_as_on_a_scrape(registry, history, selected):
    gauge = registry.register(Gauge("state", "S", ("worker",)))
    late = None
    for number in range(1, 60):
        gauge.replace({(str(worker),): float(number) for worker in range(number % 7, number % 11 + 3)})
        if number == 30:
            late = registry.register(Counter("late_total", "L"))
        if late is not None:
            late.labels().inc()
        take(history, registry, number)
        shown = {key: value for key, value in at(selected, history, number).items() if not math.isnan(value)}
        assert shown == scraped(registry)


def test_the_list_of_series_is_the_same_while_none_comes_or_goes(registry, history):
    counter = registry.register(Counter("c_total", "C", ("l",)))
    counter.labels("a")
    take(history, registry, 1)
    written = []
    history.append = lambda _time_ms, rows, _values: written.append(rows)
    for letter in "aab":
        counter.labels(letter).inc()
        take(history, registry, 2)
    assert written[0] is written[1]
    assert list(map(len, written)) == [1, 1, 2]


def test_a_block_of_series_is_read_in_one_step_after_it_was_looked_up(registry, history):
    budgets = LabelBudgets(default=10**6)
    counter = registry.register(Counter("c_total", "C", ("l",), budgets=budgets))
    for number in range(3 * BLOCK_SERIES):
        counter.labels(str(number))
    assert take(history, registry, 1) > 3
    assert take(history, registry, 2) == 3 + 1


def test_series_without_room_are_counted_and_come_in_when_others_have_ended(registry, clock, selected):
    history = History(clock, retention_seconds=3600.0, max_series=3)
    gauge = registry.register(Gauge("g", "G", ("l",)))
    gauge.replace({(letter,): 1.0 for letter in "abcde"})
    take(history, registry, 1)
    assert (history.refused, sorted(at(selected, history, 1))) == (2, ["g,l=a", "g,l=b", "g,l=c"])
    gauge.replace({(letter,): 1.0 for letter in "bcde"})
    take(history, registry, 2)
    take(history, registry, 3)
    assert (history.refused, sorted(at(selected, history, 3))) == (1, ["g,l=b", "g,l=c", "g,l=d"])


def test_a_reading_given_up_midway_leaves_nothing_behind(registry, history, selected):
    first, second = (registry.register(Counter(f"{name}_total", "C")) for name in "ab")
    take(history, registry, 1)
    registry.register(Counter("c_total", "C"))
    reading = history.read(2, registry.families())
    next(reading)
    reading.close()
    first.labels().inc()
    second.labels().inc(2)
    take(history, registry, 2)
    assert at(selected, history, 2) == {"a_total": 1.0, "b_total": 2.0, "c_total": 0.0}
    assert selected(history)["a_total"] == [(1, 0.0), (2, 1.0)]
