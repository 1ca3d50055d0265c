"""The catalogue of metrics: names and labels are a contract with dashboards and rules."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest as client_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.client_model import ClientModel
from ordinaut_ext_observability.errors import MetricDefinitionError
from ordinaut_ext_observability.metrics.budget import OVERFLOW_VALUE, LabelBudgets
from ordinaut_ext_observability.metrics.declarations import PARTS
from ordinaut_ext_observability.metrics.declarations.http import REQUEST
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.metrics.declare import MetricSet, counter, declarations_of, gauge
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.exposition import OPENMETRICS_END
from ordinaut_ext_observability.metrics.family import Counter, Gauge, Histogram
from ordinaut_ext_observability.metrics.registry import Registry


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Registry())


def use_everything(metrics: Metrics) -> None:
    """Give every family a series."""
    for family in metrics.registry.families():
        child = family.labels(*(f'{name} "of" é' for name in family.label_names))
        child.observe(0.3) if isinstance(family, Histogram) else child.inc()


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [
        ("orchestrator_http_requests_total", "counter", ("method", "endpoint", "status_code")),
        ("orchestrator_http_request_duration_seconds", "histogram", ("method", "endpoint")),
        ("orchestrator_http_requests_in_progress", "gauge", ("method",)),
        ("orchestrator_plugin_http_requests_total", "counter", ("plugin_id", "status_code")),
        ("orchestrator_plugin_http_request_duration_seconds", "histogram", ("plugin_id",)),
        ("orchestrator_task_executions_total", "counter", ("status", "task_type")),
        ("orchestrator_pipeline_duration_seconds", "histogram", ("task_id", "pipeline_type")),
        ("ordinaut_observability_internal_errors_total", "counter", ("component",)),
        ("ordinaut_observability_label_overflow_total", "counter", ("metric", "label")),
    ],
)
def test_names_labels_and_types_that_dashboards_rely_on(
    metrics: Metrics, name: str, kind: str, labels: tuple[str, ...]
) -> None:
    family = next(family for family in metrics.registry.families() if family.name == name)
    assert (family.kind, family.label_names) == (kind, labels)


def test_every_family_is_ours_by_name_and_says_what_it_is(metrics: Metrics) -> None:
    for family in metrics.registry.families():
        assert family.name.startswith(("orchestrator_", "ordinaut_observability_"))
        assert family.documentation.endswith(".")
        assert family.documentation.isascii()


def test_every_family_is_an_attribute_and_registered(metrics: Metrics) -> None:
    attributes = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
    assert attributes == metrics.registry.families()


def test_two_processes_metrics_live_side_by_side(metrics: Metrics) -> None:
    other = Metrics(Registry())
    other.count_internal_error("scrape")
    assert list(metrics.internal_errors.children()) == []


def test_two_sets_on_one_registry_share_what_both_declare(metrics: Metrics) -> None:
    system = SystemMetrics(metrics.registry)
    assert system.queue_depth is metrics.queue_depth
    assert system.runs is not metrics.runs
    names = [family.name for family in metrics.registry.families()]
    assert len(names) == len(set(names))


def test_request_buckets_can_be_chosen() -> None:
    metrics = Metrics(Registry(buckets={REQUEST: (0.5, 1.0)}))
    assert metrics.http_request_seconds.bounds == metrics.plugin_request_seconds.bounds == (0.5, 1.0)
    with pytest.raises(MetricDefinitionError):
        Metrics(Registry(buckets={REQUEST: (1.0, math.inf)}))


def test_every_declaration_is_data_that_the_documentation_can_read() -> None:
    for part in PARTS:
        assert part.title
        assert part.__doc__ is not None
        for _, each in declarations_of(part):
            assert each.help.endswith(".")
            assert (each.buckets is not None) == (each.kind == "histogram")
            assert each.buckets is None or (each.buckets.reason.endswith(".") and each.unit == "seconds")
    assert HttpUnits.sizes.unit == "bytes"
    assert HttpUnits.count.unit == ""


class HttpUnits(MetricSet):
    """Metrics with units in their names."""

    sizes = counter("sizes_bytes_total", "Sizes.")
    count = gauge("count", "Count.")


def test_internal_errors_are_counted_by_component(metrics: Metrics) -> None:
    metrics.count_internal_error("scrape")
    metrics.count_internal_error("scrape")
    metrics.count_internal_error("logs")
    assert {child.label_values: child.value for child in metrics.internal_errors.children()} == {
        ("scrape",): 2.0,
        ("logs",): 1.0,
    }


def test_overflow_is_counted_by_metric_and_label() -> None:
    metrics = Metrics(Registry(LabelBudgets(default=3, by_label={"endpoint": 1})))
    for number in range(5):
        metrics.http_requests.labels("GET", f"/{number}", "200").inc()
    metrics.http_in_progress.labels("GET").inc()
    assert {child.label_values: child.value for child in metrics.label_overflow.children()} == {
        ("orchestrator_http_requests_total", "endpoint"): 4.0
    }
    assert metrics.http_requests.labels("GET", OVERFLOW_VALUE, "200").value == 4.0


def test_overflow_of_the_number_of_series_has_an_empty_label() -> None:
    metrics = Metrics(Registry(LabelBudgets(max_series=2)))
    for number in range(5):
        metrics.http_exceptions.labels("GET", "/", f"Error{number}").inc()
    assert metrics.label_overflow.labels("orchestrator_http_exceptions_total", "").value == 3.0


def test_the_whole_catalogue_is_printed_as_the_client_prints_it(metrics: Metrics) -> None:
    use_everything(metrics)
    client_registry = CollectorRegistry()
    client_registry.register(ClientModel(metrics.registry))
    assert "".join(metrics.registry.pieces(openmetrics=False)).encode() == client_text(client_registry)


@pytest.mark.parametrize("used", [False, True])
def test_the_whole_catalogue_parses_in_both_formats(metrics: Metrics, *, used: bool) -> None:
    if used:
        use_everything(metrics)
    openmetrics = "".join(metrics.registry.pieces(openmetrics=True)) + OPENMETRICS_END
    text = "".join(metrics.registry.pieces(openmetrics=False))
    families = len(metrics.registry.families())
    assert len(list(text_string_to_metric_families(openmetrics))) == families
    assert len(list(parse_text(text))) == families
