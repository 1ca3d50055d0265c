"""Whatever the state of the registry and however it came about, the text is the client's, byte for byte."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest as client_text
from prometheus_client.openmetrics.exposition import generate_latest as client_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.client_model import ClientModel
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.exposition import OPENMETRICS_END
from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Exemplar, Gauge, Histogram
from ordinaut_ext_observability.metrics.registry import Registry

MOST_LINES_OF_A_PIECE = 200 * 8

hard_texts = st.sampled_from(
    ["", '"', "\\", "\n", "%", "%%", "%s", "%d.0", " %d.0\n", "\\n", "{", "},", "\r", "\u2028", "é", "😀", "__other__",
     "x" * 300, "# EOF\n"]
)  # fmt: skip
any_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
label_values = st.one_of(hard_texts, st.tuples(hard_texts, any_texts, hard_texts).map("".join), any_texts)
hard_numbers = st.sampled_from([0.0, 5e-324, 1e-7, 0.1, 999999.0, 999999.9999999999, 1e6, 1234567.5, 1e16, 1e21, 1e308])
amounts = st.one_of(hard_numbers, st.floats(min_value=0.0, allow_infinity=False, allow_nan=False))
gauge_values = st.one_of(
    hard_numbers,
    hard_numbers.map(lambda number: -number),
    st.sampled_from([math.inf, -math.inf, math.nan]),
    st.floats(),
)
observations = st.one_of(st.sampled_from([-1.0, 0.0, 0.1, 0.5, 2.5, 1e6, 1e21]), st.floats(allow_nan=False))
trace_ids = st.one_of(st.just("4bf92f3577b34da6a3ce929d0e0e4736"), label_values)


def text_of(registry: Registry) -> str:
    return "".join(registry.pieces(openmetrics=False))


def openmetrics_of(registry: Registry) -> str:
    return "".join(registry.pieces(openmetrics=True)) + OPENMETRICS_END


def assert_printed_as_the_client_prints_it(registry: Registry) -> None:
    client_registry = CollectorRegistry()
    client_registry.register(ClientModel(registry))
    assert text_of(registry).encode() == client_text(client_registry)
    assert openmetrics_of(registry).encode() == client_openmetrics(client_registry)


class Exposition(RuleBasedStateMachine):
    """A registry that is used, rendered in one format or both, and used again."""

    @initialize(help_text=label_values, default=st.sampled_from([2, 100, 10_000]), most=st.sampled_from([3, 10_000]))
    def start(self, help_text: str, default: int, most: int) -> None:
        budgets = LabelBudgets(default=default, max_series=most)
        self.registry = Registry()
        self.counter = self.registry.register(Counter("a_total", help_text, ("x", "b"), budgets=budgets))
        self.gauge = self.registry.register(Gauge("g", help_text, ("x",), budgets=budgets))
        self.single = self.registry.register(Gauge("single", help_text))
        self.histogram = self.registry.register(
            Histogram("h", help_text, ("z", "a"), bounds=(0.1, 0.5, 2.5, 1e6), budgets=budgets)
        )
        self.grown = 0

    @rule(x=label_values, b=label_values, amount=amounts)
    def count(self, x: str, b: str, amount: float) -> None:
        self.counter.labels(x, b).inc(amount)

    @rule(x=label_values, value=gauge_values)
    def set_gauge(self, x: str, value: float) -> None:
        self.gauge.labels(x).set(value)

    @rule(value=gauge_values)
    def set_single(self, value: float) -> None:
        self.single.labels().set(value)

    @rule(z=label_values, a=label_values, value=observations)
    def observe(self, z: str, a: str, value: float) -> None:
        self.histogram.labels(z, a).observe(value)

    @rule(z=label_values, bucket=st.integers(0, 4), times=st.sampled_from([1, 999_998, 1_000_000, 10**17]))
    def observe_often(self, z: str, bucket: int, times: int) -> None:
        self.histogram.labels(z, "").counts[bucket] += times

    @rule(z=label_values, trace_id=trace_ids, value=observations, at=st.one_of(st.integers(0, 2**33), amounts))
    def exemplify(self, z: str, trace_id: str, value: float, at: float) -> None:
        self.histogram.labels(z, "").exemplify(Exemplar(trace_id, value, at))

    @rule(series=st.sampled_from([1, 2, 199, 200, 201]))
    def grow(self, series: int) -> None:
        for number in range(self.grown, self.grown + series):
            self.counter.labels(str(number), "%d.0").inc(number)
            self.gauge.labels(str(number)).set(-number)
            self.histogram.labels(str(number), "%").observe(number)
        self.grown += series

    @precondition(lambda self: self.registry.series_count() > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        family: AnyFamily = data.draw(st.sampled_from([f for f in self.registry.families() if len(f)]))
        child = data.draw(st.sampled_from(list(family.children())))
        family.remove(*child.label_values)

    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.registry.families())).clear()

    @rule(openmetrics=st.booleans())
    def render(self, openmetrics: bool) -> None:  # noqa: FBT001
        for piece in self.registry.pieces(openmetrics=openmetrics):
            assert piece.count("\n") <= MOST_LINES_OF_A_PIECE

    @rule()
    def compare(self) -> None:
        assert_printed_as_the_client_prints_it(self.registry)

    def teardown(self) -> None:
        if hasattr(self, "registry"):
            assert_printed_as_the_client_prints_it(self.registry)


TestExposition = Exposition.TestCase
TestExposition.settings = settings(max_examples=60, stateful_step_count=30)


@given(st.lists(st.tuples(label_values, amounts), max_size=20), label_values)
def test_openmetrics_parses_back_to_the_same_samples(uses: list[tuple[str, float]], help_text: str) -> None:
    help_text = help_text.strip()  # the client's parser takes blanks before it for what parts it from the name
    registry = Registry()
    counter = registry.register(Counter("a_total", help_text, ("x",)))
    histogram = registry.register(Histogram("h", help_text, ("x",), bounds=(0.1, 1.0, 1e6)))
    gauge = registry.register(Gauge("g", help_text, ("x",)))
    for text, amount in uses:
        counter.labels(text).inc(amount)
        histogram.labels(text).observe(amount)
        histogram.labels(text).exemplify(Exemplar("4bf92f3577b34da6a3ce929d0e0e4736", amount, 1763936344.5))
        gauge.labels(text).set(-amount)
    expected = [(s.name, s.labels, s.value) for metric in ClientModel(registry).collect() for s in metric.samples]
    parsed = list(text_string_to_metric_families(openmetrics_of(registry)))
    assert [(s.name, s.labels, s.value) for metric in parsed for s in metric.samples] == expected
    assert [metric.documentation for metric in parsed] == [help_text] * 3


@given(st.lists(st.tuples(any_texts, gauge_values.filter(lambda value: not math.isnan(value))), max_size=20))
def test_text_parses_back_to_the_same_samples(uses: list[tuple[str, float]]) -> None:
    registry = Registry()
    gauge = registry.register(Gauge("g", "Help.", ("x",)))
    for text, value in uses:
        gauge.labels(text).set(value)
    expected = [(s.name, s.labels, s.value) for metric in ClientModel(registry).collect() for s in metric.samples]
    parsed = [(s.name, s.labels, s.value) for metric in parse_text(text_of(registry)) for s in metric.samples]
    assert parsed == expected


@given(
    st.lists(st.tuples(label_values, label_values), max_size=60),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(1, 12),
)
def test_budgets_bound_the_series_and_keep_the_total(
    uses: list[tuple[str, str]], default: int, own: int, max_series: int
) -> None:
    overflows: list[tuple[str, str]] = []
    family = Counter(
        "a_total",
        "Help.",
        ("x", "y"),
        budgets=LabelBudgets(default=default, by_label={"y": own}, max_series=max_series),
        on_overflow=lambda *where: overflows.append(where),
    )
    for x, y in uses:
        family.labels(x, y).inc()
    values = [child.label_values for child in family.children()]
    assert sum(child.value for child in family.children()) == len(uses)
    assert len(values) == len(set(values)) == len(family) <= max_series + 1
    assert len({x for x, _ in values} - {"__other__"}) <= default
    assert len({y for _, y in values} - {"__other__"}) <= own
    assert all(len(value) <= 200 for pair in values for value in pair)
    assert set(overflows) <= {("a_total", "x"), ("a_total", "y"), ("a_total", "")}
