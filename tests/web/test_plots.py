"""Plots of the status page: what is evaluated, what is drawn, what is said where nothing is known."""

from __future__ import annotations

from array import array
from collections.abc import Generator
from math import nan
from typing import Any, TypeVar
from xml.etree import ElementTree as ET

import pytest

from ordinaut_ext_observability.alerts.builtin import builtin_groups
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, labels_of
from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query
from ordinaut_ext_observability.web.page import plots as plots_module
from ordinaut_ext_observability.web.page.plots import MAX_REMEMBERED, MAX_ROUTES, PANELS, STEPS, Plot, Plots
from ordinaut_ext_observability.web.page.svg import figure_html, plot_svg, strip_svg, ticks
from tests.clock import ManualClock

HOUR = 3600.0
HOSTILE = '/x/{id}"} or <script>alert("\\1")</script>\n$rate & \'more\''
REQUESTS, BUCKETS = "orchestrator_http_requests_total", "orchestrator_http_request_duration_seconds_bucket"
RECORDED = "ordinaut:http_request_duration_seconds_bucket:rate5m"
ResultT = TypeVar("ResultT")


def result_of(work: Generator[None, None, ResultT]) -> ResultT:
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: ResultT = done.value
            return result


class Host:
    """A history of routes: each has `number` more requests than the one before at each tick, the first one."""

    def __init__(self, *routes: str) -> None:
        self.clock = ManualClock()
        self.history = History(self.clock, retention_seconds=HOUR, max_series=10_000)
        self.plots, self.ticks = Plots(self.clock), 0
        self.rows: list[Any] = []
        self.growth: list[float] = []
        for number, route in enumerate(routes, 1):
            for status, growth in (("200", 4 * number), ("500", number)):
                self.add(growth, __name__=REQUESTS, endpoint=route, method="GET", status_code=status)
            for bound, growth in (("0.1", 2 * number), ("1.0", 4 * number), ("+Inf", 5 * number)):
                self.add(growth, __name__=BUCKETS, endpoint=route, method="GET", le=bound)

    def add(self, growth: float, **labels: str) -> None:
        self.rows.append(self.history.table.open(labels_of(labels)))
        self.growth.append(growth)

    def run(self, ticks: int, began_anew_at: int = 0) -> Host:
        for _ in range(ticks):
            self.ticks += 1
            self.clock.advance(15)
            count = self.ticks - (began_anew_at if self.ticks >= began_anew_at else 0)
            values = array("d", [growth * count for growth in self.growth])
            self.history.append(self.history.begin_tick(), self.rows, values)
        return self

    def drawn(self, route: str = "", seconds: float = HOUR) -> dict[str, Plot]:
        return result_of(self.plots.read(self.history, route, seconds))


def test_plots_of_a_route_are_what_their_queries_give() -> None:
    host = Host("/a", HOSTILE).run(100)
    drawn = host.drawn(HOSTILE)
    assert drawn["http-rate"].lines[0][1][-1] == pytest.approx(10 / 15)
    assert drawn["http-errors"].lines[0][1][-1] == pytest.approx(0.2)
    for name in ("http-rate", "http-errors", "http-latency"):
        for query, (_, values) in zip(drawn[name].queries, drawn[name].lines, strict=True):
            for time, value in list(zip(drawn[name].times_ms, values, strict=True))[::-9]:
                answer: Any = result_of(evaluate(Query(parse(query), time, time), host.history, Limits())).value
                assert value == (pytest.approx(answer[0].value) if answer else None)


def test_each_step_is_evaluated_once_and_few_views_are_remembered() -> None:
    host = Host("/a").run(300)
    first = host.drawn("/a")
    evaluated = host.plots.evaluated
    assert host.drawn("/a") is first
    assert host.plots.evaluated == evaluated
    host.run(4).drawn("/a")
    expressions = evaluated // (STEPS + 1)
    assert host.plots.evaluated - evaluated == expressions
    for number in range(3 * MAX_REMEMBERED):
        host.drawn(f"/{number}")
    assert len(host.plots._remembered) <= MAX_REMEMBERED * (len(PANELS) + 2)
    host.clock.set_by -= 7200  # what is remembered is of times that are there no more
    host.run(1)
    before = host.plots.evaluated
    assert host.drawn("/a")["http-rate"].end_ms < first["http-rate"].end_ms
    assert host.plots.evaluated - before >= evaluated


def test_ranges_of_the_same_step_disturb_no_other() -> None:
    host = Host("/a").run(300)
    for seconds in (3000.0, HOUR, 3000.0):
        host.run(1)
        for each in (seconds, HOUR):
            plot = host.drawn("/a", each)["http-rate"]
            assert {len(values) for _, values in plot.lines} == {len(plot.times_ms)}
            assert [value for _, values in plot.lines for value in values[10:] if value is None] == []


def test_durations_of_all_routes_are_read_from_what_is_recorded() -> None:
    recorded = [rule for group in builtin_groups() for rule in group.rules if rule.name == RECORDED]
    assert len(recorded) == 1
    host = Host("/a", "/b").run(100)
    assert host.drawn()["http-latency"].absent.startswith("Nothing is recorded yet.")
    query = Query(recorded[0].expression, host.history.table.last_ms, host.history.table.last_ms)
    answer: Any = result_of(evaluate(query, host.history, Limits())).value
    results = [(labels_of({**dict(labels), NAME: RECORDED}), value) for labels, value in answer]
    list(host.history.record("ordinaut-http", host.history.table.last_ms, results))
    host.run(1)
    assert host.drawn()["http-latency"].lines[0][1][-1] == pytest.approx(0.325)


def test_a_process_without_samples_says_why_there_are_no_plots() -> None:
    drawn = Host().drawn()
    assert {plot.absent for plot in drawn.values()} == {
        "Nothing is recorded yet. Rules record requests once a minute, unless ORDINAUT_OBS_ALERTS is off.",
        "No value is known: PostgreSQL is not read, or not yet.",
    }
    assert "<svg" not in figure_html(drawn["queue-depth"], [])
    assert result_of(Host().plots.read_routes(Host().history, "", HOUR)) == ([], 0, 1)


def test_a_query_that_fails_leaves_its_lines_unknown_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise QueryError("too many samples")

    monkeypatch.setattr(plots_module, "evaluate", fail)
    plot = Host("/a").run(10).drawn()["http-latency"]
    assert "too many samples" in plot.absent
    assert [(legend, set(values)) for legend, values in plot.lines] == [
        (each, {None}) for each in ("p50", "p95", "p99")
    ]


def test_table_has_the_busiest_routes_and_goes_on_where_counters_began_anew() -> None:
    host = Host(*(f"/{number}" for number in range(MAX_ROUTES + 5)), HOSTILE).run(60).run(20, began_anew_at=70)
    rows, others, seconds = result_of(host.plots.read_routes(host.history, "", HOUR))
    assert (len(rows), others, seconds) == (MAX_ROUTES, 6, 900)
    number = MAX_ROUTES + 6
    assert rows[0].route == HOSTILE
    assert rows[0].rate == pytest.approx(5 * number * 59 / 900)  # the tick of the new beginning had none yet
    assert rows[0][2:] == pytest.approx((0.2, 0.325, 1.0, 1.0))
    assert result_of(host.plots.read_routes(host.history, HOSTILE, HOUR)) == ([rows[0]], 0, 900)


def test_a_counter_that_ended_and_came_back_lower_has_grown_by_what_came_since() -> None:
    host = Host("/a")
    for value in (50.0, 50.0, nan, 1.0, 3.0):
        host.clock.advance(15)
        host.history.append(host.history.begin_tick(), host.rows[:1], array("d", [value]))
    ((row,), others, seconds) = result_of(host.plots.read_routes(host.history, "", HOUR))
    assert (row.rate * seconds, row.error_ratio, others) == (pytest.approx(3.0), 0.0, 0)


def drawing(*lines: list[float | None], name: str = "http-latency", marker: str = "1.2.3") -> tuple[Plot, ET.Element]:
    panel = next(panel for panel in PANELS if panel.name == name)
    times = [60_000 * number for number in range(len(lines[0]))]
    named = [(f"{HOSTILE}{number}", line) for number, line in enumerate(lines)]
    plot = Plot(panel, [HOSTILE], times, named, times[0], times[-1], "")
    html = figure_html(plot, [(times[1], marker), (times[-1] + 1, "later")])
    assert html == figure_html(plot, [(times[-1] + 1, "later"), (times[1], marker)])
    return plot, ET.fromstring(html)


def test_what_is_not_known_is_a_gap_and_not_zero() -> None:
    _, figure = drawing([1.0, 0.5, None, 0.25, None, 0.0, 1.0])
    paths = [path.get("d") for path in figure.iter("path") if path.get("class") == "line line-0"]
    assert paths[0] == "M0 0h0L100 70M300 105h0M500 140h0L600 0"
    svg = figure.find("svg")
    assert svg is not None
    assert svg.get("data-values") == "1 s;500 ms;-;250 ms;-;0 ms;1 s"
    assert svg.findtext("desc") == f"{HOSTILE}0: lowest 0 ms, highest 1 s, last 1 s."


def test_texts_are_text_whatever_they_are() -> None:
    plot, figure = drawing([1.0, 2.0], [2.0, None], marker=HOSTILE)
    assert not [each for each in figure.iter() if each.tag == "script"]
    texts = [*figure.itertext()]
    assert {HOSTILE, f"{HOSTILE}0", f"{HOSTILE}1"} <= {*texts}
    assert [each.text for each in figure.iter("b")] == ["2 s", "-"]
    assert HOSTILE in [path.findtext("title") for path in figure.iter("path")]
    assert "later" not in "".join(texts)
    absent = figure_html(plot._replace(absent=HOSTILE), [])
    assert ET.fromstring(absent).findtext("p") == HOSTILE
    strip = ET.fromstring(strip_svg([(0, 50, "healthy"), (60, 200, HOSTILE)], 0, 100, HOSTILE))
    assert strip.findtext("title") == HOSTILE
    assert [bar.get("d") for bar in strip.iter("path")] == ["M0 10h300V16H0z", "M360 10h240V16H360z"]


def test_lines_differ_by_more_than_their_colour_and_a_picture_has_no_style_of_its_own() -> None:
    plot, figure = drawing([1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0])
    lines = [path for path in figure.iter("path") if (path.get("class") or "").startswith("line")]
    assert len({line.get("stroke-dasharray") for line in lines}) == 4
    assert "style" not in plot_svg(plot, [])
    assert not [each for each in figure.iter() for name in each.keys() if name.startswith("on")]  # noqa: SIM118


@pytest.mark.parametrize(
    ("top", "unit", "expected"),
    [
        (0, "", [0, 0.5, 1]),
        (0, "%", [0, 0.005, 0.01]),
        (7, "", [0, 2, 4, 6, 8]),
        (0.31, "s", [0, 0.1, 0.2, 0.3, 0.4]),
        (200, "s", [0, 60, 120, 180, 240]),
        (1.0, "%", [0, 0.5, 1.0]),
        (1e9, "", [0, 5e8, 1e9]),
    ],
)
def test_ticks_are_round(top: float, unit: str, expected: list[float]) -> None:
    assert ticks(top, unit) == pytest.approx(expected)
