"""Rendering: the cases that are known to be hard. `tests/properties` has those that nobody thought of."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest as client_text
from prometheus_client.openmetrics.exposition import generate_latest as client_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.client_model import ClientModel
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.exposition import ESCAPINGS, OPENMETRICS_END
from ordinaut_ext_observability.metrics.family import BLOCK_SERIES, Counter, Exemplar, Gauge, Histogram
from ordinaut_ext_observability.metrics.registry import Registry

UNBOUNDED = LabelBudgets(default=10**6, max_series=10**6)
HARD_TEXTS = [
    "", " ", '"', "\\", "\n", "\\n", '\\"', "a\nb", "%", "%%", "%s", "%d", "%d.0", " %d.0\n", "%(name)s", "{}", "}", ",",
    '",x="', "# EOF", "\n# EOF\n", "\r", "\t", "\x00", "\u2028", "é", "日本", "😀",
]  # fmt: skip
HARD_NUMBERS = [
    0.0, -0.0, 5e-324, 1e-300, 1e-7, 0.1, 1.0, 999999.0, 999999.9999999999, 1e6, 1234567.0, 1e15, 1e16, 1e21, 1.7e308,
    -1.0, -0.1, -999999.0, -1e6, -1e16, -1e21, math.inf, -math.inf, math.nan,
]  # fmt: skip


def text_of(registry: Registry) -> str:
    return "".join(registry.pieces(openmetrics=False))


def openmetrics_of(registry: Registry) -> str:
    return "".join(registry.pieces(openmetrics=True)) + OPENMETRICS_END


def assert_printed_as_the_client_prints_it(registry: Registry) -> None:
    client_registry = CollectorRegistry()
    client_registry.register(ClientModel(registry))
    assert text_of(registry).encode() == client_text(client_registry)
    assert openmetrics_of(registry).encode() == client_openmetrics(client_registry)
    if "dots" not in ESCAPINGS:
        return  # the client has one way to write names
    for escaping in ESCAPINGS:
        text = "".join(registry.pieces(openmetrics=False, escaping=escaping))
        assert text.encode() == client_text(client_registry, escaping=escaping)
        if escaping != "values":  # of OpenMetrics samples the client escapes names that need none
            text = "".join(registry.pieces(openmetrics=True, escaping=escaping)) + OPENMETRICS_END
            assert text.encode() == client_openmetrics(client_registry, escaping=escaping)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def no_created_series() -> Iterator[None]:
    """As our default is: the client's own metrics print no `_created` series."""
    prometheus_client.disable_created_metrics()
    yield
    prometheus_client.enable_created_metrics()


@pytest.mark.usefixtures("no_created_series")
def test_the_text_is_that_of_the_clients_own_metrics_in_the_same_state(registry: Registry) -> None:
    """Not only of our state seen through `collect`: the client keeps the numbers itself here."""
    theirs = CollectorRegistry()
    their_counter = prometheus_client.Counter("jobs", 'Jobs "done".', ["kind", "a"], registry=theirs)
    their_gauge = prometheus_client.Gauge("depth", "Depth\nof \\it.", registry=theirs)
    their_histogram = prometheus_client.Histogram(
        "wait_seconds", "Wait.", ["q"], buckets=(0.001, 1.0, 2.5, 1e6, 1e7), registry=theirs
    )
    our_counter = registry.register(Counter("jobs_total", 'Jobs "done".', ("kind", "a")))
    our_gauge = registry.register(Gauge("depth", "Depth\nof \\it."))
    our_histogram = registry.register(
        Histogram("wait_seconds", "Wait.", ("q",), bounds=(0.001, 1.0, 2.5, 1e6, 1e7), budgets=UNBOUNDED)
    )
    for text in HARD_TEXTS:
        their_counter.labels(text, "x").inc(2.5)
        our_counter.labels(text, "x").inc(2.5)
        for value in (0.0, 0.5, 2.5, 3e6, 1e9):
            their_histogram.labels(text).observe(value)
            our_histogram.labels(text).observe(value)
    their_gauge.set(-1e21)
    our_gauge.labels().set(-1e21)
    assert text_of(registry).encode() == client_text(theirs)
    assert openmetrics_of(registry).encode() == client_openmetrics(theirs)


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_hard_label_values_and_help_texts(registry: Registry, text: str) -> None:
    registry.register(Counter("a_total", text, ("x", "b"))).labels(text, "1").inc()
    registry.register(Gauge("b", text, ("x",))).labels(text).set(1)
    histogram = registry.register(Histogram("c", text, ("zz", "a"), bounds=(0.1, 1.0)))
    histogram.labels(text, text).observe(0.5)
    assert_printed_as_the_client_prints_it(registry)
    histogram.labels(text, text).observe(1e7)
    histogram.labels("other", text).counts[0] += 2_000_000
    assert_printed_as_the_client_prints_it(registry)


@pytest.mark.parametrize("number", HARD_NUMBERS)
def test_hard_numbers(registry: Registry, number: float) -> None:
    gauge = registry.register(Gauge("a", "Help.", ("x",)))
    gauge.labels("plain").set(1.5)
    gauge.labels("hard").set(number)
    histogram = registry.register(Histogram("b", "Help.", bounds=(0.1,)))
    histogram.labels().observe(number)
    if 0.0 <= number < math.inf:
        registry.register(Counter("c_total", "Help.")).labels().inc(number)
    assert_printed_as_the_client_prints_it(registry)


def test_values_that_are_plain_apart_but_not_in_sum(registry: Registry) -> None:
    gauge = registry.register(Gauge("a", "Help.", ("x",)))
    for number, value in enumerate((-1.7e308, -1.7e308, 5.0)):
        gauge.labels(str(number)).set(value)
    assert_printed_as_the_client_prints_it(registry)


@pytest.mark.parametrize("count", [999_999, 1_000_000, 1_000_001, 10**16, 10**22])
def test_counts_past_a_million(registry: Registry, count: int) -> None:
    histogram = registry.register(Histogram("a", "Help.", ("x",), bounds=(0.1, 1.0)))
    histogram.labels("%d.0").observe(0.5)
    assert_printed_as_the_client_prints_it(registry)
    histogram.labels("%d.0").counts[0] += count
    assert_printed_as_the_client_prints_it(registry)
    histogram.labels("later %d.0").observe(0.5)
    assert_printed_as_the_client_prints_it(registry)


def test_series_that_only_together_pass_a_million(registry: Registry) -> None:
    """The number of a bucket is below a million, the number of all is not."""
    child = registry.register(Histogram("a", "Help.", bounds=(0.1, 1.0))).labels()
    child.counts[:] = [400_000, 400_000, 400_000]
    assert_printed_as_the_client_prints_it(registry)


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram"])
def test_growth_between_renderings_past_the_borders_of_blocks(registry: Registry, kind: str) -> None:
    family = {
        "counter": lambda: Counter("a_total", "Help.", ("x",), budgets=UNBOUNDED),
        "gauge": lambda: Gauge("a", "Help.", ("x",), budgets=UNBOUNDED),
        "histogram": lambda: Histogram("a", "Help.", ("x",), bounds=(1.0,), budgets=UNBOUNDED),
    }[kind]()
    registry.register(family)
    sizes = (0, 1, BLOCK_SERIES - 1, BLOCK_SERIES, BLOCK_SERIES + 1, 2 * BLOCK_SERIES, 2 * BLOCK_SERIES + 1)
    for size in sizes:
        for number in range(len(family), size):
            child = family.labels(f"{number}%")
            child.observe(number) if isinstance(family, Histogram) else child.inc(number)
        assert len(family) == size
        assert_printed_as_the_client_prints_it(registry)


def test_removal_and_clearing_between_renderings(registry: Registry) -> None:
    family = registry.register(Counter("a_total", "Help.", ("x",), budgets=UNBOUNDED))
    for number in range(BLOCK_SERIES + 50):
        family.labels(str(number)).inc(number)
    assert_printed_as_the_client_prints_it(registry)
    for number in (0, 7, BLOCK_SERIES - 1, BLOCK_SERIES, BLOCK_SERIES + 49):
        family.remove(str(number))
        assert_printed_as_the_client_prints_it(registry)
    family.labels("7").inc(70)
    assert_printed_as_the_client_prints_it(registry)
    family.clear()
    assert_printed_as_the_client_prints_it(registry)
    family.labels("new").inc()
    assert_printed_as_the_client_prints_it(registry)


def test_replacing_a_series_by_another_between_renderings(registry: Registry) -> None:
    """The block has as many series as before, but not the same."""
    family = registry.register(Gauge("a", "Help.", ("x",)))
    family.labels("old").set(1)
    assert_printed_as_the_client_prints_it(registry)
    family.clear()
    family.labels("new").set(1)
    assert 'a{x="new"} 1.0' in text_of(registry)
    assert_printed_as_the_client_prints_it(registry)


def test_a_series_that_comes_while_a_rendering_pauses_is_printed_or_left_out_whole(registry: Registry) -> None:
    family = registry.register(Counter("a_total", "Help.", ("x",), budgets=UNBOUNDED))
    for number in range(BLOCK_SERIES):
        family.labels(str(number)).inc()
    paused = registry.pieces(openmetrics=False)
    text = "".join(itertools.islice(paused, 2))
    family.labels("late").inc()
    text += "".join(paused)
    assert text.count("\n") - 2 == BLOCK_SERIES + text.count('x="late"')
    assert_printed_as_the_client_prints_it(registry)


def test_a_removal_while_a_rendering_pauses_does_not_harm_the_next(registry: Registry) -> None:
    family = registry.register(Counter("a_total", "Help.", ("x",), budgets=UNBOUNDED))
    for number in range(3 * BLOCK_SERIES):
        family.labels(str(number)).inc()
    paused = registry.pieces(openmetrics=False)
    next(paused), next(paused)
    family.remove("0")
    rest = "".join(paused)
    assert rest.count("\n") == 2 * BLOCK_SERIES
    assert_printed_as_the_client_prints_it(registry)


def test_a_removal_between_two_renderings_under_way_harms_neither_nor_the_next(registry: Registry) -> None:
    """The scrape service renders up to eight scrapes by turns."""
    family = registry.register(Gauge("a", "Help.", ("x",), budgets=UNBOUNDED))
    for number in range(2 * BLOCK_SERIES):
        family.labels(str(number)).set(number)
    paused = registry.pieces(openmetrics=False)
    started = "".join(itertools.islice(paused, 2))
    family.remove("0")
    assert_printed_as_the_client_prints_it(registry)
    lines = (started + "".join(paused)).splitlines()[2:]
    assert set(lines) <= {f'a{{x="{number}"}} {number}.0' for number in range(2 * BLOCK_SERIES)}
    assert_printed_as_the_client_prints_it(registry)


def test_exemplars_are_printed_in_openmetrics_only(registry: Registry) -> None:
    child = registry.register(Histogram("a", "Help.", ("x",), bounds=(0.1, 1.0))).labels('"%d.0\n')
    for value in (0.05, 0.5, 5.0):
        child.observe(value)
    child.exemplify(Exemplar("4bf92f3577b34da6a3ce929d0e0e4736", 0.5, 1763936344.123))
    child.exemplify(Exemplar("00f067aa0ba902b7", 5e6, 1763936344))
    assert_printed_as_the_client_prints_it(registry)
    assert "trace_id" not in text_of(registry)
    line = next(line for line in openmetrics_of(registry).splitlines() if 'le="1.0"' in line)
    assert line.endswith('} 2.0 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.5 1763936344.123')


def test_exemplars_stay_with_their_series_and_bucket(registry: Registry) -> None:
    family = registry.register(Histogram("a", "Help.", ("x",), bounds=(0.1, 1.0), budgets=UNBOUNDED))
    for number in range(BLOCK_SERIES + 3):
        child = family.labels(str(number))
        child.observe(0.5)
        if number % 7 == 0:
            child.exemplify(Exemplar(f"trace-{number}", 0.5 + number, 1.0))
    assert_printed_as_the_client_prints_it(registry)
    family.remove("0")
    assert_printed_as_the_client_prints_it(registry)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_pieces_are_bounded(registry: Registry, *, openmetrics: bool) -> None:
    """However many series there are, no piece has more than a block of them."""
    counter = registry.register(Counter("a_total", "Help.", ("x",), budgets=UNBOUNDED))
    histogram = registry.register(Histogram("b", "Help.", ("x",), bounds=(1.0, 2.0), budgets=UNBOUNDED))
    for number in range(5 * BLOCK_SERIES + 1):
        counter.labels(str(number)).inc()
        histogram.labels(str(number)).observe(1)
    lines = [piece.count("\n") for piece in registry.pieces(openmetrics=openmetrics)]
    assert lines == [2, *[BLOCK_SERIES] * 5, 1, 2, *[BLOCK_SERIES * 5] * 5, 5]


def test_the_openmetrics_text_parses_back_to_the_same_samples(registry: Registry) -> None:
    counter = registry.register(Counter("a_total", 'Help "with" \\ and\nmore.', ("x",)))
    histogram = registry.register(Histogram("b", "Help.", ("x",), bounds=(0.1, 1.0, 1e6)))
    gauge = registry.register(Gauge("c", "Help.", ("x",)))
    for position, text in enumerate(HARD_TEXTS):
        counter.labels(text).inc(position)
        histogram.labels(text).observe(position / 10)
        gauge.labels(text).set(-position)
    histogram.labels("").exemplify(Exemplar("4bf92f3577b34da6a3ce929d0e0e4736", 0.0, 1763936344.123))
    parsed = list(text_string_to_metric_families(openmetrics_of(registry)))
    assert [metric.documentation for metric in parsed] == ['Help "with" \\ and\nmore.', "Help.", "Help."]
    expected = [(s.name, s.labels, s.value) for metric in ClientModel(registry).collect() for s in metric.samples]
    assert [(s.name, s.labels, s.value) for metric in parsed for s in metric.samples] == expected
    exemplars = [s.exemplar for metric in parsed for s in metric.samples if s.exemplar]
    assert [exemplar.labels for exemplar in exemplars] == [{"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}]


def test_a_lone_surrogate_in_a_label_value_does_not_keep_the_text_from_being_encoded(registry: Registry) -> None:
    """Such text comes from the environment (`surrogateescape`), or from a task id."""
    registry.register(Gauge("a", "Help.", ("x",))).labels("\udcff").set(1)
    assert text_of(registry).encode()
    assert openmetrics_of(registry).encode()


@pytest.mark.usefixtures("eager_switching")
def test_rendering_while_threads_add_series_prints_whole_lines(registry: Registry) -> None:
    counter = registry.register(Counter("a_total", "Help.", ("x",), budgets=UNBOUNDED))
    histogram = registry.register(Histogram("b", "Help.", ("x",), bounds=(1.0,), budgets=UNBOUNDED))

    def add(thread: int) -> None:
        for number in range(500):
            counter.labels(f"{thread}-{number}").inc()
            histogram.labels(f"{thread}-{number}").observe(0.5)

    threads = [threading.Thread(target=add, args=(thread,), daemon=True) for thread in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for metric in text_string_to_metric_families(openmetrics_of(registry)):
            labels = [sample.labels["x"] for sample in metric.samples if not sample.name.endswith("_bucket")]
            assert len(labels) == len(set(labels)) * (1 if metric.type == "counter" else 2)
    for thread in threads:
        thread.join(10)
    assert len(counter) == len(histogram) == 2000
    assert_printed_as_the_client_prints_it(registry)
