"""What a table gets of a registry is what a scrape shows, text aside."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ordinaut_ext_observability.history.history import Sampler
from ordinaut_ext_observability.history.table import Table
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.family import BLOCK_SERIES, Counter, Gauge, Histogram
from ordinaut_ext_observability.metrics.registry import Registry


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def table():
    return Table(retention_ms=3_600_000, max_series=5000)


def take(sampler, table, registry, time_ms):
    steps = sum(1 for _ in sampler.read(registry.families()))
    table.append(time_ms, sampler.rows, sampler.values)
    return steps


def scraped(registry):
    text = "".join(registry.pieces(openmetrics=False))
    return {
        sample.name
        + "".join(f",{label}={value}" for label, value in sorted(sample.labels.items()) if value): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }


def at(selected, table, time_ms):
    return {key: value for key, [(_, value)] in selected(table, start=time_ms, end=time_ms).items()}


def test_a_tick_has_the_series_and_numbers_of_a_scrape(registry, table, selected):
    requests = registry.register(Counter("requests_total", "R", ("method", "Zone")))
    requests.labels("GET", "").inc(3)
    requests.labels('"\n', "eu").inc(10**9)
    registry.register(Gauge("depth", "D")).labels().set(math.inf)
    seconds = registry.register(Histogram("seconds", "S", ("name",), bounds=(0.1, 1.0, 1e6)))
    seconds.labels("a").observe(0.5)
    seconds.labels("").observe(5e6)
    registry.register(Gauge("never_set", "N"))
    take(Sampler(table), table, registry, 1000)
    assert at(selected, table, 1000) == scraped(registry)
    assert at(selected, table, 1000)["requests_total,method=GET"] == 3.0
    assert at(selected, table, 1000)["seconds_bucket,le=+Inf,name=a"] == 1.0


def test_series_come_and_go_as_on_a_scrape(registry, table, selected):
    sampler, gauge = Sampler(table), registry.register(Gauge("state", "S", ("worker",)))
    late = None
    for number in range(1, 60):
        gauge.replace({(str(worker),): float(number) for worker in range(number % 7, number % 11 + 3)})
        if number == 30:
            late = registry.register(Counter("late_total", "L"))
        if late is not None:
            late.labels().inc()
        take(sampler, table, registry, number)
        shown = {key: value for key, value in at(selected, table, number).items() if not math.isnan(value)}
        assert shown == scraped(registry)


def test_the_list_of_series_is_the_same_while_none_comes_or_goes(registry, table):
    counter, sampler = registry.register(Counter("c_total", "C", ("l",))), Sampler(table)
    counter.labels("a")
    take(sampler, table, registry, 1)
    rows = sampler.rows
    counter.labels("a").inc()
    take(sampler, table, registry, 2)
    assert sampler.rows is rows
    counter.labels("b")
    take(sampler, table, registry, 3)
    assert len(sampler.rows) == 2


def test_a_block_of_series_is_read_in_one_step_after_it_was_looked_up(registry, table):
    budgets = LabelBudgets(default=10**6)
    counter, sampler = registry.register(Counter("c_total", "C", ("l",), budgets=budgets)), Sampler(table)
    for number in range(3 * BLOCK_SERIES):
        counter.labels(str(number))
    assert take(sampler, table, registry, 1) > 3
    assert take(sampler, table, registry, 2) == 3 + 1


def test_series_without_room_are_counted_and_come_in_when_others_have_ended(registry, selected):
    table = Table(retention_ms=3_600_000, max_series=3)
    sampler, gauge = Sampler(table), registry.register(Gauge("g", "G", ("l",)))
    gauge.replace({(letter,): 1.0 for letter in "abcde"})
    take(sampler, table, registry, 1)
    assert (sampler.refused, sorted(at(selected, table, 1))) == (2, ["g,l=a", "g,l=b", "g,l=c"])
    gauge.replace({(letter,): 1.0 for letter in "bcde"})
    take(sampler, table, registry, 2)
    take(sampler, table, registry, 3)
    assert (sampler.refused, sorted(at(selected, table, 3))) == (1, ["g,l=b", "g,l=c", "g,l=d"])


def test_a_reading_given_up_midway_leaves_nothing_behind(registry, table, selected):
    sampler = Sampler(table)
    first, second = (registry.register(Counter(f"{name}_total", "C")) for name in "ab")
    take(sampler, table, registry, 1)
    registry.register(Counter("c_total", "C"))
    reading = sampler.read(registry.families())
    next(reading)
    reading.close()
    first.labels().inc()
    second.labels().inc(2)
    take(sampler, table, registry, 2)
    assert at(selected, table, 2) == {"a_total": 1.0, "b_total": 2.0, "c_total": 0.0}
    assert selected(table)["a_total"] == [(1, 0.0), (2, 1.0)]
