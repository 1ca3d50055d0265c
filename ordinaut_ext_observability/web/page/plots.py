"""Plots of the status page: PromQL over the history, evaluated once for each step and remembered.

::

    plots = Plots(Clock())
    drawn = yield from plots.read(history, route="", range_seconds=3600.0)
    rows, others, seconds = yield from plots.read_routes(history, route="", range_seconds=3600.0)
    html = figure_html(drawn["http-rate"], markers=[])
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Generator, Iterator
from heapq import nlargest
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

import orjson

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, Series, value_of
from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.functions.samples import Buckets, bucket_quantile
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query

STEPS: Final = 60  # columns of a plot: one a minute in an hour, as often as rules record
SPANS_MS: Final = tuple(minutes * 60_000 for minutes in (5, 15, 30, 60, 180, 360, 720))
"""Ranges that are shown where the history is no longer: most of a plot of an hour would be empty after a start."""
_RECORDED: Final = "ordinaut:http_requests:rate5m"  # results of rules are kept for longer than metrics
SHORTEST_STEP_MS: Final = 15_000  # the usual interval of the history: more columns would repeat samples
MAX_REMEMBERED: Final = 8  # routes with ranges: those of a few people who look at different things
MAX_ROUTES: Final = 30
MAX_TABLE_SECONDS: Final = 900  # each sample of that time is read

FILE: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("panels.toml").read_text("utf-8"))
"""Panels, the parts of their queries, words for there being no values, and markup."""

_REQUESTS: Final = LabelMatcher(NAME, "=", "orchestrator_http_requests_total")
_BUCKETS: Final = LabelMatcher(NAME, "=", "orchestrator_http_request_duration_seconds_bucket")
_QUANTILE: Final = re.compile(r"histogram_quantile\(([\d.]+), (.*)\)", re.DOTALL)

ResultT = TypeVar("ResultT")
Steps = Generator[None, None, ResultT]
"""Work in steps of at most about half a millisecond, and its result."""
Values = list[float | None]
"""None: not known."""


class Panel(NamedTuple):
    """A plot of the page, as panels.toml has it. The name is an id in HTML."""

    name: str
    section: str
    title: str
    unit: str
    lines: list[list[str]]


PANELS: Final = tuple(Panel(**each) for each in FILE["panels"])


class Plot(NamedTuple):
    """A panel, the query of each line, and its legend with a value for each time in milliseconds since 1970."""

    panel: Panel
    queries: list[str]
    times_ms: list[int]
    lines: list[tuple[str, Values]]
    start_ms: int
    end_ms: int
    absent: str  # words for there being no value at all, else empty


class RouteRow(NamedTuple):
    """A route: requests per second, share of 5xx, quantiles of durations in seconds; None: not known."""

    route: str
    rate: float
    error_ratio: float
    p50: float | None
    p95: float | None
    p99: float | None


class Plots:
    """Evaluates each query at each step once, and reads the table of routes once for each tick of the history."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: tuple[object, int] = (None, 0)
        """The history's table and the time by which it was moved: what is remembered is of these."""
        self._first_ms = 0
        """A tick: steps are multiples from there."""
        self._remembered: dict[tuple[object, ...], Any] = {}
        """Samples by query and steps, plots by route and range, tables by window; the last used stand last."""
        self.evaluated = 0
        """Steps evaluated so far."""

    def read(self, source: History, route: str, range_seconds: float) -> Steps[dict[str, Plot]]:
        """The plots by name, of all routes or of one, up to now."""
        newest_ms, range_ms = self._begin(source), round(range_seconds * 1000)
        since_ms = min(filter(None, (source.kept_since_ms, source.since_ms({_RECORDED}))), default=newest_ms)
        range_ms = next((span for span in SPANS_MS if newest_ms - since_ms <= span < range_ms), range_ms)
        step_ms = -(-range_ms // STEPS // SHORTEST_STEP_MS) * SHORTEST_STEP_MS
        last_ms = newest_ms - (newest_ms - self._first_ms) % step_ms
        end_ms = max(newest_ms, round(self._clock.wall() * 1000) // step_ms * step_ms)
        state: object
        plots: dict[str, Plot]
        state, plots = self._remembered.get(("plots", route, range_seconds), (None, {}))
        if state != (newest_ms, end_ms):
            steps, plots = range(last_ms - range_ms // step_ms * step_ms, last_ms + 1, step_ms), {}
            times = list(dict.fromkeys((*steps, newest_ms)))
            for panel in PANELS:
                queries = [[_filled(query, route) for query in line[1:]] for line in panel.lines]
                absent, lines = FILE["absent"]["route" if route and panel.section == "http" else panel.section], []
                try:
                    for (legend, *_), line in zip(panel.lines, queries, strict=True):
                        lines.append((legend, (yield from self._read_line(source, line, steps, newest_ms))))
                except QueryError as error:
                    absent = f"The query failed: {error}."
                    lines = [(legend, [None for _ in times]) for legend, *_ in panel.lines]
                absent = "" if any(value is not None for _, values in lines for value in values) else absent
                shown = [" / ".join(line) for line in queries]
                plots[panel.name] = Plot(panel, shown, times, lines, end_ms - range_ms, end_ms, absent)
                yield
        self._remember(("plots", route, range_seconds), ((newest_ms, end_ms), plots))
        return plots

    def read_routes(self, source: History, route: str, range_seconds: float) -> Steps[tuple[list[RouteRow], int, int]]:
        """The one route, or those with the most requests; the number of others that had some; of how many seconds.

        The seconds are the range, or what the history has of it, 15 minutes at most. It is no PromQL, which takes twice
        as long for hundreds of routes.
        """
        newest_ms = self._begin(source)
        known_seconds = (newest_ms - (source.kept_since_ms or newest_ms)) // 1000
        seconds = max(1, min(round(range_seconds), MAX_TABLE_SECONDS, known_seconds))
        tick, rows, others = self._remembered.get(("routes", route, seconds), (None, [], 0))
        if tick != newest_ms:
            start_ms = newest_ms - seconds * 1000
            wanted = [_REQUESTS, LabelMatcher("endpoint", "=", route)] if route else [_REQUESTS]
            requests = yield from _read_growth(source.select(wanted, start_ms, newest_ms), "status_code")
            called = [(sum(growth.values()), each) for each, growth in requests.items() if any(growth.values())]
            shown = nlargest(MAX_ROUTES, called)
            rows, others, of_shown = [], len(called) - len(shown), _OneOf("endpoint", {each for _, each in shown})
            yield
            buckets = yield from _read_growth(source.select([_BUCKETS, of_shown], start_ms, newest_ms), "le")
            for number, each in shown:
                failed = sum(growth for status, growth in requests[each].items() if status.startswith("5"))
                counts = [(float(bound), growth) for bound, growth in buckets[each].items()]
                quantiles = (_value(counts, share) for share in (0.5, 0.95, 0.99))
                rows.append(RouteRow(each, number / seconds, failed / number, *quantiles))
                yield
        self._remember(("routes", route, seconds), (newest_ms, rows, others))
        return rows, others, seconds

    def _begin(self, source: History) -> int:
        """The time of the newest tick. All is forgotten where the history began anew, or its times were moved."""
        if self._known != (source.table, source.shifted_ms):
            self._known, self._first_ms = (source.table, source.shifted_ms), source.table.last_ms
            self._remembered = {}
        return source.table.last_ms

    def _remember(self, key: tuple[object, ...], value: object) -> None:
        self._remembered.pop(key, None)
        self._remembered[key] = value
        while len(self._remembered) > MAX_REMEMBERED * (len(PANELS) + 2):
            del self._remembered[next(iter(self._remembered))]

    def _read_line(self, source: History, queries: list[str], steps: range, newest_ms: int) -> Steps[Values]:
        """The values of a query, or of a quotient, at these steps and at the newest tick."""
        results: list[Values] = []
        for query in queries:
            quantile = _QUANTILE.fullmatch(query)
            expression, share = (quantile[2], float(quantile[1])) if quantile else (query, None)
            known = self._remembered.get((expression, steps.step, len(steps)), {})
            samples = {time: known[time] for time in (*steps, newest_ms) if time in known}
            first = next((time for time in steps if time not in samples), steps.stop)
            for missing in range(first, steps.stop, steps.step), range(newest_ms, newest_ms + 1):
                if missing and missing[-1] not in samples:
                    samples |= yield from _evaluate(source, expression, missing)
                    self.evaluated += len(missing)
            self._remember((expression, steps.step, len(steps)), samples)
            results.append([])
            for each in samples.values():
                results[-1].append(_value(each, share))
                yield
        pairs = zip(results[0], results[-1], strict=True)
        return [a / b if a is not None and b else None for a, b in pairs] if len(queries) > 1 else results[0]


def _filled(query: str, route: str) -> str:
    """The query with its parts, about this route or about all."""
    for name, part in FILE["parts"]["route" if route else "all"].items():
        query = query.replace(name, part)
    return query.replace("$route", orjson.dumps(route).decode())  # PromQL reads the escapes of JSON


def _evaluate(source: History, query: str, times: range) -> Steps[dict[int, Buckets]]:
    """Samples by time: upper bounds, 0 where there are none, and values."""
    samples: dict[int, Buckets] = {time: [] for time in times}
    answer = yield from evaluate(Query(parse(query), times[0], times[-1], times.step), source, Limits())
    for labels, at, values in cast("list[Series]", answer.value):
        bound = float(value_of(labels, "le") or 0)
        for time, value in zip(at, values, strict=True):
            samples[time].append((bound, value))
    return samples


def _value(samples: Buckets, share: float | None) -> float | None:
    """The value of a series, or a quantile of buckets; None where it is no number: a share of nothing is not zero."""
    value = nan if not samples else samples[0][1] if share is None else bucket_quantile(samples, share)
    return value if isfinite(value) else None


def _read_growth(found: Iterator[Series | None], label: str) -> Steps[defaultdict[str, defaultdict[str, float]]]:
    """The growth of counters, by route and this label."""
    growth: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for series in found:
        if series is None:
            yield
            continue
        values = list(series.values)
        increase = values[-1] - values[0]
        if not isfinite(sum(values)) or values != sorted(values):  # rarely: it ended, or began anew
            numbers = filter(isfinite, values)
            increase = sum([after - before if after >= before else after for before, after in pairwise(numbers)])
        growth[value_of(series.labels, "endpoint")][value_of(series.labels, label)] += increase
    return growth


class _OneOf(NamedTuple):
    """A condition on a label, which a regular expression of many values would be slow at."""

    name: str
    values: set[str]
    equal_to: str | None = None

    def matches(self, value: str) -> bool:
        return value in self.values
