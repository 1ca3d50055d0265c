"""What a view shows of vectors: sums, merged gauges, and a page like that of one process that counted everything."""

from __future__ import annotations

from typing import Any

import pytest

from ordinaut_ext_observability.metrics.budget import OVERFLOW_VALUE, LabelBudgets
from ordinaut_ext_observability.metrics.family import Counter, Gauge, Histogram
from ordinaut_ext_observability.relay.vector import NumberReader, Numbers, VectorError
from ordinaut_ext_observability.relay.view import View

BUDGETS = LabelBudgets(default=2)


def families() -> list[Any]:
    return [
        Counter("jobs_total", "Jobs.", ("kind",), budgets=BUDGETS),
        Histogram("seconds", "How long.", ("kind",), bounds=(0.5, 1.0), budgets=BUDGETS),
        Gauge("open", "Open now.", ("kind",), merged_by="sum", budgets=BUDGETS),
        Gauge("age", "The oldest.", budgets=BUDGETS),
    ]


def count(made: list[Any], jobs: int, kind: str = "a") -> None:
    made[0].labels(kind).inc(jobs)
    for _ in range(jobs):
        made[1].labels(kind).observe(0.75)


def counts(made: list[Any]) -> Numbers:
    return NumberReader(lambda: made[:2]).read()


def gauges(made: list[Any]) -> Numbers:
    return NumberReader(lambda: made[2:]).read()


def values(view: View, name: str) -> dict[tuple[str, ...], float]:
    family: Any = next(family for family in view.registry.families() if family.name == name)
    return {child.label_values: child.value for child in family.children()}


def page(registry: Any, *, openmetrics: bool) -> str:
    return "".join(registry.pieces(openmetrics=openmetrics))


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_page_is_that_of_a_process_that_counted_everything(openmetrics: bool) -> None:
    from ordinaut_ext_observability.metrics.registry import Registry

    one, other, everything = families(), families(), families()
    for made in (one, everything):
        count(made, 3, "a")
    for made in (other, everything):
        count(made, 4, "a")
        count(made, 5, "b\n\u00fc")
    view = View(one)
    view.fill(1, [counts(one), counts(other)])
    registry = Registry()
    for family in everything:
        registry.register(family)
    assert page(view.registry, openmetrics=openmetrics) == page(registry, openmetrics=openmetrics)


def test_a_later_epoch_takes_the_place_of_the_sums() -> None:
    one, view = families(), View(families())
    count(one, 3)
    view.fill(1, [counts(one)])
    count(one, 1)
    count(one, 1, "b")
    view.fill(2, [counts(one)])
    assert values(view, "jobs_total") == {("a",): 4, ("b",): 1}
    assert view.epoch == 2


def test_families_that_are_unknown_or_otherwise_defined_are_left_out() -> None:
    others = [Counter("other_total", ""), Counter("jobs_total", "", ("kind", "more")), Gauge("age", "", ("x",))]
    others[0].labels().inc()
    others[1].labels("a", "b").inc()
    others[2].labels("1").set(5)
    bounds = Histogram("seconds", "", ("kind",), bounds=(9.0,))
    bounds.labels("a").observe(1)
    own = families()
    count(own, 1)
    view = View(own)
    view.fill(1, [NumberReader(lambda: [*others[:2], bounds]).read(), counts(own)])
    view.show_gauges([], [NumberReader(lambda: others[2:]).read()])
    assert values(view, "jobs_total") == {("a",): 1}
    assert values(view, "age") == {}


def test_past_the_budget_sums_are_under_other() -> None:
    made = [families() for _ in range(4)]
    for number, process in enumerate(made):
        count(process, 1, str(number))
    view = View(families())
    view.fill(1, [counts(process) for process in made])
    assert values(view, "jobs_total") == {("0",): 1, ("1",): 1, (OVERFLOW_VALUE,): 2}


def test_a_vector_that_does_not_fit_changes_nothing() -> None:
    own, view = families(), View(families())
    count(own, 1)
    view.fill(1, [counts(own)])
    count(own, 1)
    for wrong in (counts(own)._replace(values=[1]), counts(own)._replace(layout=b"[[]]")):
        with pytest.raises(VectorError):
            view.fill(2, [counts(own), wrong])
    assert values(view, "jobs_total") == {("a",): 1}
    assert view.epoch == 1


def test_gauges_are_merged_as_each_says_and_go_with_their_process() -> None:
    own, other = families(), families()
    for made, number in ((own, 2), (other, 3)):
        made[2].labels("a").set(number)
        made[3].labels().set(number)
    other[2].labels("b").set(7)
    view = View(own)
    view.show_gauges(own[2:], [gauges(other)])
    assert values(view, "open") == {("a",): 5, ("b",): 7}
    assert values(view, "age") == {(): 3}
    view.show_gauges(own[2:], [])
    assert values(view, "open") == {("a",): 2}
    assert values(view, "age") == {(): 2}
    view.show_gauges([], [])
    assert values(view, "open") == {}
