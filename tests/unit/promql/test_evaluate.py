"""Evaluation beyond conformance cases: limits, pauses, names that go at once, and deep expressions."""

from __future__ import annotations

import threading
from array import array

import pytest

from ordinaut_ext_observability.history.series import Series, labels_of
from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError, QueryTimeoutError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.nodes import Call, Number
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query
from tests.promql.run import run_to_end

MINUTE = 60_000
TIMES = array("q", range(0, 60 * MINUTE + 1, 15_000))


class Samples:
    """Series that share their times, and are given whole whatever time is asked for."""

    def __init__(self, *labels):
        self.series = [
            Series(labels_of(one), TIMES, array("d", [float(index * at) for at in range(len(TIMES))]))
            for index, one in enumerate(labels, 1)
        ]

    def select(self, matchers, start_ms, end_ms):
        for series in self.series:
            values = dict(series.labels)
            if all(matcher.matches(values.get(matcher.name, "")) for matcher in matchers):
                yield series


MANY = Samples(*({"__name__": "x", "n": str(number), "half": str(number % 2)} for number in range(1_000)))
TWINS = Samples({"__name__": "a", "job": "api"}, {"__name__": "b", "job": "api"})


def ask(text, source=MANY, *, limits=Limits(), **fields):
    query = Query(parse(text), **({"start_ms": 30 * MINUTE, "end_ms": 30 * MINUTE} | fields))
    return run_to_end(evaluate(query, source, limits))


@pytest.mark.parametrize(
    ("limits", "times", "error", "words"),
    [
        (Limits(samples=10_000), {}, ExecutionError, "more than 10000 samples"),
        (Limits(series=999), {}, ExecutionError, "more than 999 series"),
        (
            Limits(steps=10),
            {"start_ms": 0, "step_ms": MINUTE},
            ExecutionError,
            "31 steps are more than the limit of 10",
        ),
        (
            Limits(),
            {"start_ms": 0, "end_ms": 10**30, "step_ms": 1},
            ExecutionError,
            "steps are more than the limit of 11001",
        ),
        (Limits(seconds=0.001), {}, QueryTimeoutError, "limit of 0.001 seconds"),
    ],
)
def test_a_query_beyond_a_limit_says_which(limits, times, error, words):
    with pytest.raises(error, match=words):
        ask("sum by (half) (rate(x[5m]))", limits=limits, **times)


def test_labels_and_unions_do_not_grow_without_bounds():
    joined = "a"
    for _ in range(20):
        joined = f'label_join({joined}, "job", "", "job", "job")'
    with pytest.raises(ExecutionError, match="more than 8192 characters"):
        ask(joined, TWINS)
    with pytest.raises(ExecutionError, match="more than 1500 series"):
        ask('x or label_replace(x, "n", "-$1", "n", "(.*)")', limits=Limits(series=1_500))


def test_more_labels_than_are_remembered_are_told_apart():
    [series] = ask('count(count_values("v", rate(x[2m]) + time()))', start_ms=10 * MINUTE, step_ms=MINUTE).value
    assert list(series.values) == [1_000.0] * 21


def test_a_subquery_has_no_more_steps_than_a_query():
    with pytest.raises(ExecutionError, match="600 steps are more than the limit of 500"):
        ask("max_over_time(x[10m:1s])", limits=Limits(steps=500))


@pytest.mark.parametrize(
    "text",
    [
        "sum by (half) (rate(x[5m]))",
        "x * 2 > 5",
        "x / on (n) x",
        "x and x or x",
        "topk(500, abs(x))",
        "label_replace(x, 'm', '$1', 'n', '(.*)')",
        "max_over_time(x[5m:1m])",
    ],
)
def test_there_is_a_pause_at_least_every_few_hundred_series(text):
    pauses = sum(1 for _ in evaluate(Query(parse(text), 30 * MINUTE, 30 * MINUTE), MANY, Limits()))
    assert pauses >= 20


def test_a_long_range_of_one_series_has_pauses_between_its_steps():
    query = Query(parse('quantile_over_time(0.5, x{n="1"}[30m])'), 0, 60 * MINUTE, 15_000)
    assert sum(1 for _ in evaluate(query, MANY, Limits())) >= len(TIMES)


@pytest.mark.parametrize("text", ["rate({job='api'}[5m])", "-{job='api'}", "{job='api'} * 2", "abs({job='api'})"])
def test_series_that_only_their_name_told_apart_are_refused(text):
    with pytest.raises(ExecutionError, match="vector cannot contain metrics with the same labelset"):
        ask(text, TWINS)


def test_a_name_goes_at_once():
    [sample] = ask('sum by (of) (label_replace(rate(a[5m]), "of", "$1", "__name__", "(.*)"))', TWINS).value
    assert sample.labels == ()


def test_a_range_is_answered_by_series_in_the_order_of_their_labels():
    answer = ask("b or on (__name__) a", TWINS, start_ms=0, end_ms=2 * MINUTE, step_ms=MINUTE)
    assert [(dict(one.labels)["__name__"], list(one.timestamps), list(one.values)) for one in answer.value] == [
        ("a", [0, MINUTE, 2 * MINUTE], [0.0, 4.0, 8.0]),
        ("b", [0, MINUTE, 2 * MINUTE], [0.0, 8.0, 16.0]),
    ]


def test_a_range_of_ranges_is_refused():
    with pytest.raises(BadQueryError, match="must be Scalar or instant Vector"):
        ask("a[5m]", TWINS, start_ms=0, step_ms=MINUTE)


def test_the_lookback_and_the_step_of_subqueries_can_be_chosen():
    after = {"start_ms": 61 * MINUTE, "end_ms": 61 * MINUTE}
    assert ask("a", TWINS, **after).value != []
    assert ask("a", TWINS, **after, lookback_ms=MINUTE).value == []
    [sample] = ask("count_over_time(a[10m:])", TWINS, subquery_step_ms=5 * MINUTE).value
    assert sample.value == 2


def test_the_deepest_expression_that_is_parsed_fits_a_small_stack():
    node = Call("vector", (Number(-1.0),), "vector")
    for _ in range(165):
        node = Call("abs", (node,), "vector")
    answers = []
    size = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(
            target=lambda: answers.append(run_to_end(evaluate(Query(node, 0, 0), MANY, Limits())))
        )
        thread.start()
    finally:
        threading.stack_size(size)
    thread.join()
    assert answers[0].value == [((), 1.0)]


def test_a_replacement_may_name_a_group_of_thousands_of_digits():
    [sample, *_] = ask(f'label_replace(x, "m", "${{{"9" * 5_000}}}", "n", ".*")').value
    assert "m" not in dict(sample.labels)
