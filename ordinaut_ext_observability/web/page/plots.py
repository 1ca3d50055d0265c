"""Plots of the status page: PromQL over the history, evaluated once for each step and remembered.

::

    plots = Plots(Clock())
    drawn = yield from plots.read(history, route="", range_seconds=3600.0)
    rows, others, seconds = yield from plots.read_routes(history, 3600.0)
    html = figure_html(drawn["http-rate"], markers=[])
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import pairwise
from math import isfinite
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

STEPS: Final = 60
"""Columns of a plot: one a minute in an hour, as often as rules record."""
SHORTEST_STEP_MS: Final = 15_000
"""The usual interval of the history: more columns would repeat samples."""
MAX_REMEMBERED: Final = 8
"""Routes and ranges whose plots are remembered: those of a few people who look at different things."""
MAX_ROUTES: Final = 30
MAX_TABLE_SECONDS: Final = 900
"""Longest window of the table of routes: each sample in it is read."""
QUANTILES: Final = (0.5, 0.95, 0.99)

_FILE: Final[dict[str, Any]] = tomllib.loads((Path(__file__).with_name("panels.toml")).read_text("utf-8"))
_REQUESTS, _BUCKETS = "orchestrator_http_requests_total", "orchestrator_http_request_duration_seconds_bucket"
_QUANTILE: Final = re.compile(r"histogram_quantile\(([\d.]+), (.*)\)", re.DOTALL)

Column = list[float | None]
"""A value for each line of a panel, at one time; None: not known."""
ResultT = TypeVar("ResultT")
Steps = Generator[None, None, ResultT]
"""Work in steps of at most about half a millisecond, and its result."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot of the page, as panels.toml has it: its name is an id in HTML, a line a legend and a query."""

    name: str
    section: str
    title: str
    unit: str
    """`seconds`, `ratio`, `rate` (per second) or `count`."""
    lines: list[tuple[str, str]]


PANELS: Final = tuple(Panel(**each) for each in _FILE["panels"])


@dataclass(frozen=True, slots=True)
class Plot:
    """A panel, the query of each line, and values. Times are in milliseconds since 1970; None is not known."""

    panel: Panel
    queries: tuple[str, ...]
    times_ms: list[int]
    lines: list[tuple[str, list[float | None]]]
    start_ms: int
    end_ms: int
    absent: str
    """Words for there being no value at all; empty where there is one."""


class RouteRow(NamedTuple):
    """A route: requests per second, share of 5xx, quantiles of durations in seconds; None: not known."""

    route: str
    rate: float
    error_ratio: float
    p50: float | None
    p95: float | None
    p99: float | None


class RouteTable(NamedTuple):
    """The routes with the most requests in the last `seconds`, and the number of others that had some."""

    rows: list[RouteRow]
    others: int
    seconds: int


class Plots:
    """Evaluates each step of the panels once, and the table of routes once for each tick of the history."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: tuple[object, int] = (None, 0)
        """The history's table and the time by which it was moved: what is remembered is of these."""
        self._first_ms = 0
        """A tick: steps are multiples from there."""
        self._columns: dict[tuple[tuple[str, ...], int], dict[int, Column]] = {}
        """Columns by time, for queries and a step; those asked for last stand last."""
        self._routes: dict[tuple[int, int], RouteTable] = {}
        """The tables of the newest tick, by it and the window."""
        self.evaluated = 0
        """Columns evaluated so far."""

    def read(self, source: History, route: str, range_seconds: float) -> Steps[dict[str, Plot]]:
        """The plots by name, of all routes or of one, up to now."""
        newest_ms, range_ms = self._begin(source), round(range_seconds * 1000)
        step_ms = -(-range_ms // STEPS // SHORTEST_STEP_MS) * SHORTEST_STEP_MS
        last_ms = newest_ms - (newest_ms - self._first_ms) % step_ms
        times = range(last_ms - range_ms // step_ms * step_ms, last_ms + 1, step_ms)
        end_ms = max(newest_ms, round(self._clock.wall() * 1000) // step_ms * step_ms)
        plots = {}
        for panel in PANELS:
            queries, columns = tuple(_filled(query, route) for _, query in panel.lines), dict[int, Column]()
            absent = _FILE["absent"]["route" if route and panel.section == "http" else panel.section]
            try:
                columns = yield from self._read_columns(source, queries, times, newest_ms)
            except QueryError as error:
                absent = f"The query failed: {error}."
            lines = [(legend, [column[i] for column in columns.values()]) for i, (legend, _) in enumerate(panel.lines)]
            absent = "" if any(value is not None for _, values in lines for value in values) else absent
            plots[panel.name] = Plot(panel, queries, list(columns), lines, end_ms - range_ms, end_ms, absent)
            yield
        return plots

    def read_routes(self, source: History, range_seconds: float) -> Steps[RouteTable]:
        """The table of routes over the range, or what the history has of it, 15 minutes at most."""
        newest_ms = self._begin(source)
        known_seconds = (newest_ms - (source.kept_since_ms or newest_ms)) // 1000
        key = (newest_ms, max(1, min(round(range_seconds), MAX_TABLE_SECONDS, known_seconds)))
        if key not in self._routes:
            table = yield from _read_routes(source, *key)
            self._routes = {other: each for other, each in self._routes.items() if other[0] == newest_ms} | {key: table}
        return self._routes[key]

    def _begin(self, source: History) -> int:
        """The time of the newest tick. All is forgotten where the history began anew, or its times were moved."""
        if self._known != (source.table, source.shifted_ms):
            self._known, self._columns, self._routes = (source.table, source.shifted_ms), {}, {}
            self._first_ms = source.table.last_ms
        return source.table.last_ms

    def _read_columns(
        self, source: History, queries: tuple[str, ...], times: range, newest_ms: int
    ) -> Steps[dict[int, Column]]:
        """The columns at these times, which are kept, and the one of the newest tick."""
        known = self._columns.pop((queries, times.step), {})
        columns = {time: known[time] for time in times if time in known}
        missing = range(max(columns, default=times[0] - times.step) + times.step, times[-1] + 1, times.step)
        if missing:
            columns |= yield from _evaluate(source, queries, missing)
        self._columns[queries, times.step] = columns
        while len(self._columns) > MAX_REMEMBERED * len(PANELS):
            del self._columns[next(iter(self._columns))]
        newest = (
            (yield from _evaluate(source, queries, range(newest_ms, newest_ms + 1))) if newest_ms > times[-1] else {}
        )
        self.evaluated += len(missing) + len(newest)
        return columns | newest


def _filled(query: str, route: str) -> str:
    """The query with its parts, about this route or about all."""
    for name, part in _FILE["parts"]["route" if route else "all"].items():
        query = query.replace(name, part)
    return query.replace("$route", orjson.dumps(route).decode())  # PromQL reads the escapes of JSON


def _evaluate(source: History, queries: tuple[str, ...], times: range) -> Steps[dict[int, Column]]:
    """A value of each query at these times. Buckets that several quantiles are of are evaluated once."""
    columns: dict[int, Column] = {time: [] for time in times}
    found: dict[str, dict[int, Buckets]] = {}
    for query in queries:
        quantile = _QUANTILE.fullmatch(query)
        expression = quantile[2] if quantile else query
        if expression not in found:
            found[expression] = defaultdict(list)
            answer = yield from evaluate(Query(parse(expression), times[0], times[-1], times.step), source, Limits())
            for labels, at, values in cast("list[Series]", answer.value):
                bound = float(value_of(labels, "le") or 0)
                for time, value in zip(at, values, strict=True):
                    found[expression][time].append((bound, value))
        for time, column in columns.items():
            samples = found[expression].get(time, [])
            column.append(
                _quantile(samples, float(quantile[1])) if quantile else _number(samples[0][1]) if samples else None
            )
        yield
    return columns


def _number(value: float) -> float | None:
    """The value; None where it is no number: a share of nothing is not zero."""
    return value if isfinite(value) else None


def _quantile(buckets: Buckets, share: float) -> float | None:
    return _number(bucket_quantile(buckets, share)) if buckets else None


def _read_routes(source: History, newest_ms: int, seconds: int) -> Steps[RouteTable]:
    """The table of the last seconds. It is no PromQL, which would take three times as long for hundreds of routes."""
    rates, failures = defaultdict[str, float](float), defaultdict[str, float](float)
    buckets: defaultdict[str, defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    start_ms = newest_ms - seconds * 1000
    for series in source.select((LabelMatcher(NAME, "=", _REQUESTS),), start_ms, newest_ms):
        if series is None:
            yield
            continue
        route, growth = value_of(series.labels, "endpoint"), _growth(series.values) / seconds
        rates[route] += growth
        failures[route] += growth if value_of(series.labels, "status_code").startswith("5") else 0
    called = [(rate, route) for route, rate in rates.items() if rate]
    shown = nlargest(MAX_ROUTES, called)
    yield
    of_shown = _OneOf("endpoint", frozenset(route for _, route in shown))
    for series in source.select((LabelMatcher(NAME, "=", _BUCKETS), of_shown), start_ms, newest_ms):
        if series is None:
            yield
            continue
        bound = float(value_of(series.labels, "le"))
        buckets[value_of(series.labels, "endpoint")][bound] += _growth(series.values)
    rows = []
    for rate, route in shown:
        durations = [_quantile([*buckets[route].items()], share) for share in QUANTILES]
        rows.append(RouteRow(route, rate, failures[route] / rate, *durations))
        yield
    return RouteTable(rows, len(called) - len(shown), seconds)


def _growth(values: Sequence[float]) -> float:
    """The growth of a counter from its first value to its last, also where it began anew between."""
    known = [value for value in values if value == value]  # noqa: PLR0124 - without marks of an end, which are NaN
    return sum([b - a if b >= a else b for a, b in pairwise(known)])


class _OneOf(NamedTuple):
    """A condition on a label, which a regular expression of many values would be slow at."""

    name: str
    values: frozenset[str]
    equal_to: str | None = None

    def matches(self, value: str) -> bool:
        return value in self.values
