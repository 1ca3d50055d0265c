"""Label budgets: totals stay right and memory stays flat whatever the values are."""

from __future__ import annotations

import secrets
import tracemalloc


from ordinaut_ext_observability.metrics.budget import (
    MAX_VALUE_LENGTH,
    OVERFLOW_VALUE,
    LabelBudgets,
    LabelGuard,
)
from ordinaut_ext_observability.metrics.family import Counter, Histogram


def counter(*label_names: str, budgets: LabelBudgets, overflows: list[tuple[str, str]] | None = None) -> Counter:
    seen = overflows if overflows is not None else []
    return Counter(
        "things_total", "Things.", label_names, budgets=budgets, on_overflow=lambda *where: seen.append(where)
    )


def values_of(family: Counter) -> dict[tuple[str, ...], float]:
    return {child.label_values: child.value for child in family.children()}


def test_limit_is_the_default_unless_the_label_has_its_own() -> None:
    budgets = LabelBudgets(default=7, by_label={"task_id": 3})
    assert budgets.limit("task_id") == 3
    assert budgets.limit("method") == 7


def test_values_within_the_budget_are_kept_as_they_are() -> None:
    overflows: list[tuple[str, str]] = []
    things = counter("kind", budgets=LabelBudgets(default=3), overflows=overflows)
    for kind in ("a", "b", "c", "a"):
        things.labels(kind).inc()
    assert values_of(things) == {("a",): 2.0, ("b",): 1.0, ("c",): 1.0}
    assert overflows == []


def test_values_past_the_budget_are_counted_as_other_and_the_total_stays_right() -> None:
    things = counter("kind", budgets=LabelBudgets(default=3))
    for number in range(50):
        things.labels(str(number)).inc()
    values = values_of(things)
    assert values == {("0",): 1.0, ("1",): 1.0, ("2",): 1.0, (OVERFLOW_VALUE,): 47.0}
    assert sum(values.values()) == 50.0


def test_values_known_before_the_overflow_keep_their_series() -> None:
    things = counter("kind", budgets=LabelBudgets(default=1))
    things.labels("known").inc()
    things.labels("late").inc()
    things.labels("known").inc()
    assert values_of(things) == {("known",): 2.0, (OVERFLOW_VALUE,): 1.0}


def test_each_label_has_its_own_budget_and_only_the_full_one_overflows() -> None:
    overflows: list[tuple[str, str]] = []
    things = counter(
        "method", "task_id", budgets=LabelBudgets(default=10, by_label={"task_id": 2}), overflows=overflows
    )
    for number in range(4):
        things.labels("GET", str(number)).inc()
    assert values_of(things) == {("GET", "0"): 1.0, ("GET", "1"): 1.0, ("GET", OVERFLOW_VALUE): 2.0}
    assert overflows == [("things_total", "task_id")] * 2


def test_every_use_of_a_value_past_the_budget_is_counted_as_overflow() -> None:
    overflows: list[tuple[str, str]] = []
    things = counter("kind", budgets=LabelBudgets(default=1), overflows=overflows)
    things.labels("first")
    things.labels("second")
    things.labels("second")
    assert overflows == [("things_total", "kind")] * 2


def test_naming_the_overflow_value_itself_takes_no_place_and_counts_no_overflow() -> None:
    overflows: list[tuple[str, str]] = []
    things = counter("kind", budgets=LabelBudgets(default=1), overflows=overflows)
    things.labels(OVERFLOW_VALUE).inc()
    things.labels("a").inc()
    assert values_of(things) == {(OVERFLOW_VALUE,): 1.0, ("a",): 1.0}
    assert overflows == []


def test_past_the_limit_of_series_all_labels_become_other() -> None:
    """The product of two labels within their budgets is bounded too."""
    overflows: list[tuple[str, str]] = []
    things = counter("a", "b", budgets=LabelBudgets(default=100, max_series=5), overflows=overflows)
    for number in range(100):
        things.labels(str(number // 10), str(number % 10)).inc()
    assert len(things) == 6
    values = values_of(things)
    assert values[OVERFLOW_VALUE, OVERFLOW_VALUE] == 95.0
    assert sum(values.values()) == 100.0
    assert overflows == [("things_total", "")] * 95


def test_long_values_are_cut_and_share_a_series() -> None:
    things = counter("kind", budgets=LabelBudgets())
    things.labels("x" * MAX_VALUE_LENGTH + "left").inc()
    things.labels("x" * MAX_VALUE_LENGTH + "right").inc()
    things.labels("x" * MAX_VALUE_LENGTH).inc()
    assert values_of(things) == {("x" * MAX_VALUE_LENGTH,): 3.0}


def test_a_value_of_the_greatest_length_is_whole() -> None:
    things = counter("kind", budgets=LabelBudgets())
    assert things.labels("é" * MAX_VALUE_LENGTH).label_values == ("é" * MAX_VALUE_LENGTH,)


def test_a_cut_value_keeps_its_series_at_the_limit_of_series() -> None:
    things = counter("kind", budgets=LabelBudgets(max_series=1))
    things.labels("x" * 300).inc()
    things.labels("x" * 300).inc()
    assert values_of(things) == {("x" * MAX_VALUE_LENGTH,): 2.0}


def test_a_removed_series_gives_its_place_in_the_budget_to_others() -> None:
    things = counter("kind", budgets=LabelBudgets(default=2))
    for kind in ("a", "b"):
        things.labels(kind).inc()
    things.remove("b")
    things.labels("c").inc()
    things.labels("d").inc()
    assert values_of(things) == {("a",): 1.0, ("c",): 1.0, (OVERFLOW_VALUE,): 1.0}


def test_clearing_frees_the_budget() -> None:
    things = counter("kind", budgets=LabelBudgets(default=1))
    things.labels("a").inc()
    things.clear()
    things.labels("b").inc()
    assert values_of(things) == {("b",): 1.0}


def test_a_guard_forgets_only_when_told() -> None:
    overflows: list[str] = []
    guard = LabelGuard(("kind",), LabelBudgets(default=1), overflows.append)
    assert guard.admit(("a",), 0) == ("a",)
    assert guard.admit(("b",), 1) == (OVERFLOW_VALUE,)
    guard.keep_only(())
    assert guard.admit(("b",), 0) == ("b",)
    assert overflows == ["kind"]


def test_a_metric_without_labels_is_never_over_its_label_budgets() -> None:
    overflows: list[tuple[str, str]] = []
    things = counter(budgets=LabelBudgets(default=0), overflows=overflows)
    things.labels().inc()
    assert values_of(things) == {(): 1.0}
    assert overflows == []


def test_memory_stays_flat_under_a_hundred_thousand_random_values() -> None:
    things = Histogram(
        "things_seconds", "Things.", ("kind", "other"), bounds=(0.1, 1.0), budgets=LabelBudgets(max_series=500)
    )

    def observe(times: int) -> None:
        for _ in range(times):
            things.labels(secrets.token_hex(100), secrets.token_hex(4)).observe(0.5)

    observe(5_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        observe(100_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(things) <= 501
    assert sum(sum(child.counts) for child in things.children()) == 105_000
    assert after - before < 64 * 1024
