"""The registry: clash rules, filters, refreshing, and life as a `prometheus_client` collector."""

from __future__ import annotations

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ordinaut_ext_observability.errors import MetricDefinitionError
from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Gauge, Histogram
from ordinaut_ext_observability.metrics.registry import Registry, sample_names


def text_of(registry: Registry, *, only: frozenset[str] | None = None) -> str:
    return "".join(registry.pieces(openmetrics=False, only=only))


@pytest.fixture
def registry() -> Registry:
    """A counter, a gauge and a histogram with a series each."""
    registry = Registry()
    registry.register(Counter("jobs_total", "Jobs.", ("kind",))).labels("x").inc()
    registry.register(Gauge("depth", "Depth.", ("queue",))).labels("q").set(3)
    registry.register(Histogram("wait_seconds", "Wait.", bounds=(1.0,))).labels().observe(0.5)
    return registry


def histogram(name: str) -> Histogram:
    return Histogram(name, "Help.", bounds=(1.0,))


def test_register_returns_the_family() -> None:
    family = Counter("a_total", "Help.")
    assert Registry().register(family) is family


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Counter("a_total", "Help."), Counter("a_total", "Help.")),
        (Counter("a_total", "Help."), Gauge("a_total", "Help.")),
        (Counter("a_total", "Help."), Gauge("a", "Help.")),
        (Counter("a_total", "Help."), histogram("a")),
        (Gauge("a", "Help."), histogram("a")),
        (Gauge("a", "Help."), Counter("a_total", "Help.")),
        (histogram("a"), Gauge("a_bucket", "Help.")),
        (histogram("a"), Gauge("a_sum", "Help.")),
        (histogram("a"), Counter("a_count_total", "Help.")),
        (Gauge("a_count", "Help."), histogram("a")),
    ],
)
def test_a_family_that_prints_a_name_in_use_is_refused(first: AnyFamily, second: AnyFamily) -> None:
    registry = Registry()
    registry.register(first)
    before = text_of(registry)
    with pytest.raises(MetricDefinitionError, match="registered already"):
        registry.register(second)
    assert registry.families() == [first]
    assert text_of(registry) == before


def test_names_that_only_look_alike_do_not_clash() -> None:
    registry = Registry()
    for family in (Gauge("a", "Help."), Gauge("a_count", "Help."), Counter("b_total", "Help."), histogram("c")):
        registry.register(family)
    assert len(registry.families()) == 4


def test_sample_names_are_all_names_a_family_occupies() -> None:
    assert sample_names(Counter("a_total", "Help.")) == {"a_total", "a"}
    assert sample_names(Gauge("a", "Help.")) == {"a"}
    assert sample_names(histogram("a")) == {"a", "a_bucket", "a_count", "a_sum"}


def test_names_are_those_of_all_families(registry: Registry) -> None:
    assert registry.names() == {
        "jobs", "jobs_total", "depth", "wait_seconds", "wait_seconds_bucket", "wait_seconds_count", "wait_seconds_sum",
    }  # fmt: skip


def test_families_are_printed_in_the_order_of_registration(registry: Registry) -> None:
    types = [line.split()[2] for line in text_of(registry).splitlines() if line.startswith("# TYPE")]
    assert types == ["jobs_total", "depth", "wait_seconds"]


def test_series_count_counts_label_sets(registry: Registry) -> None:
    assert registry.series_count() == 3
    registry.register(Gauge("unset", "Help."))
    assert registry.series_count() == 3


@pytest.mark.parametrize(
    ("only", "families"),
    [
        ({"jobs_total"}, {"jobs_total"}),
        ({"jobs"}, {"jobs_total"}),
        ({"wait_seconds_bucket"}, {"wait_seconds"}),
        ({"wait_seconds_sum", "depth"}, {"depth", "wait_seconds"}),
        ({"unknown"}, set()),
        (set(), set()),
    ],
)
def test_only_families_with_a_wanted_name_are_printed(registry: Registry, only: set[str], families: set[str]) -> None:
    text = text_of(registry, only=frozenset(only))
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} == families


def test_a_filtered_family_prints_what_it_prints_unfiltered(registry: Registry) -> None:
    assert text_of(registry, only=frozenset(registry.names())) == text_of(registry)


def test_collecting_brings_gauges_up_to_date(registry: Registry) -> None:
    depth = next(family for family in registry.families() if isinstance(family, Gauge)).labels("q")
    calls = []
    registry.refresh_with(lambda: calls.append(depth.set(len(calls) + 10.0)))
    client_registry = CollectorRegistry()
    client_registry.register(registry)
    assert calls == []
    assert client_registry.get_sample_value("depth", {"queue": "q"}) == 10.0
    assert client_registry.get_sample_value("depth", {"queue": "q"}) == 11.0


def test_refreshers_run_in_the_order_they_were_given(registry: Registry) -> None:
    calls: list[str] = []
    registry.refresh_with(lambda: calls.append("first"))
    registry.refresh_with(lambda: calls.append("second"))
    registry.refresh()
    assert calls == ["first", "second"]


def test_a_registry_can_be_a_collector_in_two_client_registries(registry: Registry) -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    first.register(registry)
    second.register(registry)
    assert generate_latest(first) == generate_latest(second) == text_of(registry).encode()


def test_a_client_registry_takes_it_once(registry: Registry) -> None:
    client_registry = CollectorRegistry()
    client_registry.register(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        client_registry.register(registry)
    client_registry.unregister(registry)
    client_registry.register(registry)
    assert generate_latest(client_registry) == text_of(registry).encode()


def test_a_client_registry_refuses_users_metrics_with_our_names(registry: Registry) -> None:
    client_registry = CollectorRegistry()
    client_registry.register(registry)
    for name in ("jobs", "wait_seconds_bucket", "depth"):
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            prometheus_client.Gauge(name, "Clash.", registry=client_registry)


def test_users_metrics_are_printed_beside_ours(registry: Registry) -> None:
    client_registry = CollectorRegistry()
    client_registry.register(registry)
    prometheus_client.Gauge("users_own", "Theirs.", registry=client_registry).set(4)
    theirs = "# HELP users_own Theirs.\n# TYPE users_own gauge\nusers_own 4.0\n"
    assert generate_latest(client_registry).decode() == text_of(registry) + theirs


def test_a_client_registry_can_be_restricted_to_one_of_our_samples(registry: Registry) -> None:
    client_registry = CollectorRegistry()
    client_registry.register(registry)
    restricted = client_registry.restricted_registry(["wait_seconds_count"])
    assert [sample.name for metric in restricted.collect() for sample in metric.samples] == ["wait_seconds_count"]


def test_describing_reads_no_values(registry: Registry) -> None:
    registry.refresh_with(lambda: pytest.fail("refreshed"))
    described = list(registry.describe())
    assert [metric.name for metric in described] == ["jobs", "depth", "wait_seconds"]
    assert all(not metric.samples for metric in described)


def test_an_empty_registry_prints_nothing() -> None:
    registry = Registry()
    client_registry = CollectorRegistry()
    client_registry.register(registry)
    assert text_of(registry) == ""
    assert generate_latest(client_registry) == b""
