"""Families and their children: definition rules, arithmetic, threads."""

from __future__ import annotations

from itertools import accumulate

import math
import threading
from collections.abc import Callable

import pytest

from ordinaut_ext_observability.errors import MetricDefinitionError
from ordinaut_ext_observability.metrics.budget import OVERFLOW_VALUE, LabelBudgets
from ordinaut_ext_observability.metrics.family import BLOCK_SERIES, Counter, Exemplar, Gauge, Histogram

THREADS = 8


def run_in_threads(work: Callable[[int], None]) -> None:
    """Run the work in several threads that start together."""
    barrier = threading.Barrier(THREADS, timeout=10)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert errors == []


@pytest.mark.parametrize(
    "name", ["", "0_total", "a b_total", "a-b_total", "é_total", "a\n_total", "a_total\n", "a{}_total", "a.b_total"]
)
def test_a_name_prometheus_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(MetricDefinitionError, match="not a metric name"):
        Counter(name, "Help.")


@pytest.mark.parametrize("name", ["a_total", "_total", ":a:b_total", "A9_total"])
def test_a_name_prometheus_takes_is_kept(name: str) -> None:
    assert Counter(name, "Help.").name == name


@pytest.mark.parametrize("label", ["", "0a", "a b", "a-b", "a:b", "__name__", "__a", "é", "a\n"])
@pytest.mark.parametrize("make", [Counter, Gauge])
def test_a_label_name_prometheus_does_not_take_is_refused(make: type[Counter | Gauge], label: str) -> None:
    with pytest.raises(MetricDefinitionError, match="not a label name"):
        make("a_total", "Help.", (label,))


def test_le_is_reserved_for_the_buckets_of_a_histogram() -> None:
    with pytest.raises(MetricDefinitionError, match="'le'"):
        Histogram("a", "Help.", ("le",), bounds=(1.0,))
    assert Gauge("a", "Help.", ("le",)).label_names == ("le",)


def test_the_same_label_name_twice_is_refused() -> None:
    with pytest.raises(MetricDefinitionError):
        Counter("a_total", "Help.", ("kind", "kind"))


@pytest.mark.parametrize("name", ["requests", "requests_total_", "requests_totals"])
def test_the_name_of_a_counter_ends_in_total(name: str) -> None:
    with pytest.raises(MetricDefinitionError, match="_total"):
        Counter(name, "Help.")


@pytest.mark.parametrize(
    "bounds",
    [(), (1.0, 1.0), (1, 1.0), (2.0, 1.0), (1.0, math.inf), (-math.inf, 1.0), (math.nan,), (1.0, math.nan, 2.0)],
)
def test_bounds_that_are_not_finite_and_ascending_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(MetricDefinitionError, match="bounds"):
        Histogram("a", "Help.", bounds=bounds)


def test_bounds_are_kept_as_floats() -> None:
    bounds = Histogram("a", "Help.", bounds=(-1, 0, 5)).bounds
    assert bounds == (-1.0, 0.0, 5.0)
    assert all(type(bound) is float for bound in bounds)


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_a_wrong_number_of_label_values_is_refused(values: tuple[str, ...]) -> None:
    family = Counter("a_total", "Help.", ("x", "y"))
    with pytest.raises(MetricDefinitionError, match="labels"):
        family.labels(*values)
    assert len(family) == 0


def test_a_metric_without_labels_takes_no_values() -> None:
    with pytest.raises(MetricDefinitionError):
        Counter("a_total", "Help.").labels("x")


def test_the_same_values_have_the_same_child() -> None:
    family = Gauge("a", "Help.", ("x", "y"))
    assert family.labels("1", "2") is family.labels("1", "2")
    assert family.labels("1", "2") is not family.labels("2", "1")


def test_values_that_are_not_text_become_text() -> None:
    family = Counter("a_total", "Help.", ("status",))
    family.labels(200).inc()  # type: ignore[arg-type]
    family.labels("200").inc()
    assert [(child.label_values, child.value) for child in family.children()] == [(("200",), 2.0)]


def test_a_counter_and_a_histogram_without_labels_start_at_zero_and_a_gauge_does_not() -> None:
    assert [child.value for child in Counter("a_total", "Help.").children()] == [0.0]
    assert [list(accumulate(child.counts)) for child in Histogram("a", "Help.", bounds=(1.0,)).children()] == [[0, 0]]
    assert len(Gauge("a", "Help.")) == 0


def test_a_metric_with_labels_starts_empty() -> None:
    assert len(Counter("a_total", "Help.", ("x",))) == 0


def test_a_counter_adds_up() -> None:
    child = Counter("a_total", "Help.").labels()
    child.inc()
    child.inc(2.5)
    child.inc(0)
    assert child.value == 3.5


@pytest.mark.parametrize("amount", [-1.0, -5e-324, math.nan, math.inf, -math.inf])
def test_a_counter_refuses_what_would_not_let_it_grow(amount: float) -> None:
    child = Counter("a_total", "Help.").labels()
    child.inc(1.0)
    with pytest.raises(ValueError, match="counter takes finite amounts"):
        child.inc(amount)
    assert child.value == 1.0


def test_a_gauge_goes_up_and_down() -> None:
    child = Gauge("a", "Help.").labels()
    child.inc()
    child.dec(3)
    assert child.value == -2.0
    child.set(7)
    assert child.value == 7.0
    assert type(child.value) is float


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_gauge_may_be_infinite(value: float) -> None:
    child = Gauge("a", "Help.").labels()
    child.set(value)
    assert child.value == value


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        (-1.0, [1, 0, 0]),
        (0.0, [1, 0, 0]),
        (1.0, [1, 0, 0]),
        (math.nextafter(1.0, 2.0), [0, 1, 0]),
        (2.0, [0, 1, 0]),
        (2.1, [0, 0, 1]),
        (math.inf, [0, 0, 1]),
    ],
)
def test_an_observation_counts_in_the_first_bucket_that_holds_it(value: float, counts: list[int]) -> None:
    child = Histogram("a", "Help.", bounds=(1.0, 2.0)).labels()
    child.observe(value)
    assert child.counts == counts
    assert child.sum == value


def test_cumulative_counts_end_with_the_number_of_all() -> None:
    child = Histogram("a", "Help.", bounds=(1.0, 2.0)).labels()
    for value in (0.5, 0.5, 1.5, 9.0):
        child.observe(value)
    assert list(accumulate(child.counts)) == [2, 3, 4]
    assert child.sum == 11.5


def test_an_observation_that_is_not_a_number_is_at_or_below_no_bound() -> None:
    """Refusing it would do as well; `prometheus_client` counts it in no bucket, Go's client above every bound."""
    child = Histogram("a", "Help.", bounds=(1.0, 2.0)).labels()
    try:
        child.observe(math.nan)
    except ValueError:
        return
    assert child.counts[:-1] == [0, 0]


def test_an_exemplar_stands_for_the_bucket_of_its_value_and_the_last_one_wins() -> None:
    child = Histogram("a", "Help.", bounds=(1.0, 2.0)).labels()
    assert child.exemplars is None
    first, second, third = (Exemplar(name, value, 1.0) for name, value in (("f", 0.1), ("s", 1.0), ("t", 5.0)))
    for exemplar in (first, second, third):
        child.exemplify(exemplar)
    assert child.exemplars == [second, None, third]
    assert sum(child.counts) == 0


def test_a_removed_series_is_gone_and_others_keep_their_order() -> None:
    family = Counter("a_total", "Help.", ("x",), budgets=LabelBudgets(default=1000))
    for number in range(BLOCK_SERIES + 5):
        family.labels(str(number)).inc(number)
    family.remove("3")
    expected = [str(number) for number in range(BLOCK_SERIES + 5) if number != 3]
    assert [child.label_values[0] for child in family.children()] == expected
    assert len(family) == BLOCK_SERIES + 4


def test_a_series_removed_and_used_again_starts_anew() -> None:
    family = Counter("a_total", "Help.", ("x",))
    family.labels("1").inc(5)
    family.remove("1")
    assert family.labels("1").value == 0.0


def test_removing_what_is_not_there_changes_nothing() -> None:
    family = Counter("a_total", "Help.", ("x",))
    family.labels("1")
    blocks = family.blocks
    family.remove("2")
    family.remove("1", "2")
    assert len(family) == 1
    assert family.blocks is blocks


def test_a_cleared_family_is_empty() -> None:
    family = Gauge("a", "Help.", ("x",))
    family.labels("1").set(1)
    family.clear()
    assert len(family) == 0
    assert list(family.children()) == []


def test_blocks_never_exceed_their_size() -> None:
    family = Gauge("a", "Help.", ("x",), budgets=LabelBudgets(default=10_000))
    for number in range(2 * BLOCK_SERIES + 1):
        family.labels(str(number))
    assert [len(block) for block in family.blocks] == [BLOCK_SERIES, BLOCK_SERIES, 1]


@pytest.mark.usefixtures("eager_switching")
def test_increments_of_threads_add_up_exactly() -> None:
    counter = Counter("a_total", "Help.").labels()
    gauge = Gauge("b", "Help.").labels()
    histogram = Histogram("c", "Help.", bounds=(1.0, 2.0)).labels()
    times = 5_000

    def work(number: int) -> None:
        for _ in range(times):
            counter.inc()
            gauge.inc(2.0)
            gauge.dec()
            histogram.observe(number % 3)

    run_in_threads(work)
    assert counter.value == THREADS * times
    assert gauge.value == THREADS * times
    assert sum(histogram.counts) == THREADS * times
    assert histogram.sum == times * sum(number % 3 for number in range(THREADS))


@pytest.mark.usefixtures("eager_switching")
def test_threads_that_make_the_same_children_share_them() -> None:
    overflows: list[tuple[str, str]] = []
    family = Counter(
        "a_total",
        "Help.",
        ("x",),
        budgets=LabelBudgets(default=50),
        on_overflow=lambda *where: overflows.append(where),
    )

    def work(_: int) -> None:
        for number in range(80):
            family.labels(str(number)).inc()

    run_in_threads(work)
    values = {child.label_values[0]: child.value for child in family.children()}
    assert len(values) == len(family) == 51
    assert values.pop(OVERFLOW_VALUE) == THREADS * 30
    assert set(values.values()) == {float(THREADS)}
    assert len(overflows) == THREADS * 30


@pytest.mark.usefixtures("eager_switching")
def test_threads_that_remove_and_add_leave_children_and_blocks_in_step() -> None:
    family = Gauge("a", "Help.", ("x",), budgets=LabelBudgets(default=10_000))

    def work(thread: int) -> None:
        for number in range(100):
            family.labels(f"{thread}-{number}").set(number)
            if number % 3 == 0:
                family.remove(f"{thread}-{number}")

    run_in_threads(work)
    expected = {f"{thread}-{number}" for thread in range(THREADS) for number in range(100) if number % 3}
    assert {child.label_values[0] for child in family.children()} == expected
    assert len(family) == len(expected)
    assert all(family.labels(child.label_values[0]) is child for child in family.children())


def test_a_gauge_shows_the_series_it_is_given_and_no_others() -> None:
    family = Gauge("a", "Help.", ("x",), budgets=LabelBudgets(default=2))
    family.replace({("one",): 1.0, ("two",): 2.0})
    blocks = family.blocks
    family.replace({("one",): 3.0, ("two",): 4.0})
    assert family.blocks is blocks  # nothing to lay out anew
    family.replace({("two",): 5.0, ("three",): 6.0})  # in the place of the one that went
    assert {child.label_values: child.value for child in family.children()} == {("two",): 5.0, ("three",): 6.0}
