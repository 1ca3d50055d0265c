"""The queries of docs/releases.md, evaluated over a release after which one route became busier, slower and worse."""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from ordinaut_ext_observability.history.series import Matcher, Series, labels_of, value_of
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query
from tests.promql.run import run_to_end

DOCUMENT = Path(__file__).parents[3] / "docs" / "releases.md"
QUERIES = re.findall(r"```promql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
RELEASED, STEP, HALF = 1_764_150_000, 15, 1_200
WORSE, SAME = "/tasks/{task_id}", "/events"
BOUNDS = ("0.1", "0.5", "+Inf")


def series(name: str, before: float, after: float, **labels: str) -> Series:
    """A counter that grows by so much in a second before the release, and after it."""
    times = range(RELEASED - HALF, RELEASED + HALF + 1, STEP)
    values = [before * (time - times[0]) + (after - before) * max(0, time - RELEASED) for time in times]
    return Series(
        labels_of({"__name__": f"orchestrator_{name}", **labels}),
        array("q", [time * 1000 for time in times]),
        array("d", values),
    )


class Samples:
    """Requests of two routes, deployments and runs of an agent."""

    held = (
        series("http_requests_total", 1.9, 2.4, endpoint=WORSE, status_code="200"),
        series("http_requests_total", 0.1, 0.6, endpoint=WORSE, status_code="500"),
        series("http_requests_total", 1.0, 1.0, endpoint=SAME, status_code="200"),
        *(
            series("http_request_duration_seconds_bucket", before, after, endpoint=endpoint, le=bound)
            for endpoint, counts in {WORSE: ((2, 0), (2, 3), (2, 3)), SAME: ((1, 1),) * 3}.items()
            for bound, (before, after) in zip(BOUNDS, counts, strict=True)
        ),
        series("deployments_total", 0.002, 0.002, environment="production", outcome="success"),
        series("deployments_total", 0.001, 0.001, environment="production", outcome="failed"),
        series("task_run_duration_seconds_sum", 0.5, 0.5, agent_id="a"),
        series("task_runs_total", 0.1, 0.1, agent_id="a", status="success"),
        series("task_runs_total", 0.1, 0.1, agent_id="a", status="failed"),
    )

    def select(self, matchers: Collection[Matcher], start_ms: int, end_ms: int) -> Iterator[Series | None]:
        for each in self.held:
            if all(matcher.matches(value_of(each.labels, matcher.name)) for matcher in matchers):
                yield each


EXPECTED: tuple[dict[str, float], ...] = (
    {"production": pytest.approx(7.2, rel=0.1)},
    {"production": pytest.approx(2 / 3)},
    {WORSE: pytest.approx(1.5), SAME: pytest.approx(1)},
    {WORSE: pytest.approx(0.2 - 0.05), SAME: pytest.approx(0)},
    {WORSE: pytest.approx(0.48 / 0.095), SAME: pytest.approx(1)},
    {"a": pytest.approx(0.5)},
    {"a": pytest.approx(12)},
    {"a": pytest.approx(0.5)},
)


@pytest.mark.parametrize(("query", "expected"), [*zip(QUERIES, EXPECTED, strict=True)])
def test_query_of_the_documentation_gives_what_it_says(query: str, expected: dict[str, float]) -> None:
    at = (RELEASED + HALF) * 1000
    answer = run_to_end(evaluate(Query(parse(query.replace("$released", str(RELEASED))), at, at), Samples(), Limits()))
    assert isinstance(answer.value, list)
    assert {labels[0][1]: value for labels, value in answer.value} == expected
