"""Checkpoints: one line of succession, and totals that come back as they were."""

from __future__ import annotations

from ordinaut_ext_observability.collectors.checkpoint import Checkpoint, MemoryCheckpoints, restore_totals
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.family import Counter, Histogram
from ordinaut_ext_observability.relay.vector import NO_NUMBERS, NumberReader


def families(budget=100):
    budgets = LabelBudgets(default=budget)
    return [
        Counter("a_total", "", ("x",), budgets=budgets),
        Counter("b_total", ""),
        Histogram("c_seconds", "", ("x",), bounds=(1.0, 2.0), budgets=budgets),
    ]


def test_only_a_higher_sequence_is_kept():
    store = MemoryCheckpoints()
    assert store.load() is None
    first = Checkpoint(1, b"", NO_NUMBERS)
    assert store.save(first)
    assert not store.save(Checkpoint(1, b"other", NO_NUMBERS))
    assert store.load() is first
    assert store.save(Checkpoint(2, b"", NO_NUMBERS))


def filled():
    counted = families()
    counted[0].labels("one").inc(3)
    counted[0].labels("two").inc(4)
    counted[1].labels().inc(5)
    for value in (0.5, 1.5, 9.0):
        counted[2].labels("one").observe(value)
    return counted


def test_totals_come_back_as_they_were():
    numbers = NumberReader(filled).read()
    others = families()
    others[0].labels("gone").inc(9)
    others[1].labels().inc(1)
    restore_totals(others, numbers)
    assert NumberReader(lambda: others).read() == numbers
    restore_totals(others, NO_NUMBERS)
    assert [len(family) for family in others] == [0, 1, 0]
    assert others[1].labels().value == 0


def test_under_a_smaller_budget_the_total_is_the_same():
    others = families(1)
    restore_totals(others, NumberReader(filled).read())
    assert {child.label_values: child.value for child in others[0].children()} == {("one",): 3, ("__other__",): 4}


def test_what_another_version_counted_differently_is_left_out():
    others = [Counter("b_total", ""), Histogram("c_seconds", "", ("x",), bounds=(1.0, 3.0)), Counter("d_total", "")]
    restore_totals(others, NumberReader(filled).read())
    assert others[0].labels().value == 5
    assert len(others[1]) == 0
