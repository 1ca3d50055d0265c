"""Plots of the status page: PromQL over the history, evaluated once for each step and remembered.

::

    plots = Plots(Clock())
    drawn = yield from plots.read(history, route="", range_seconds=3600.0)
    table = yield from plots.read_routes(history, 3600.0)
    html = figure_html(drawn["http-rate"], markers=[])
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from heapq import nlargest
from math import isfinite
from typing import Final, NamedTuple, TypeVar, cast

import orjson

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import Matcher, SampleSource, Series, value_of
from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.functions.samples import Buckets, bucket_quantile
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query

STEPS: Final = 60
"""Columns of a plot: a minute each of an hour, as often as rules record."""
SHORTEST_STEP_MS: Final = 15_000
"""The usual interval of the history: more columns would repeat samples."""
MAX_REMEMBERED: Final = 8
"""Routes and ranges whose plots are remembered: those of a few people who look at different things."""
MAX_ROUTES: Final = 30
"""Rows of the table of routes; the rest is counted."""
MAX_TABLE_SECONDS: Final = 900
"""Longest window of the table: each sample in it is read, of all routes."""
QUANTILES: Final = (0.5, 0.95, 0.99)

_REQUESTS, _SECONDS = "orchestrator_http_requests_total", "orchestrator_http_request_duration_seconds_bucket"
_QUANTILE: Final = re.compile(r"histogram_quantile\(([\d.]+), (.*)\)", re.DOTALL)
_OVERALL: Final = {
    "$failed": "sum(ordinaut:http_requests_failed:rate5m)",
    "$rate": "sum(ordinaut:http_requests:rate5m)",
    "$buckets": "sum by (le) (ordinaut:http_request_duration_seconds_bucket:rate5m)",
}
"""Parts of queries about all routes: of recorded series, since the raw ones may be thousands."""
_OF_ROUTE: Final = {
    "$failed": f'(sum(rate({_REQUESTS}{{endpoint=$route,status_code=~"5.."}}[5m])) or 0 * $rate)',
    "$rate": f"sum(rate({_REQUESTS}{{endpoint=$route}}[5m]))",
    "$buckets": f"sum by (le) (rate({_SECONDS}{{endpoint=$route}}[5m]))",
}
_DRIFT: Final = 'sum by (le) (rate(orchestrator_schedule_drift_seconds_bucket{source="leased"}[15m]))'

Column = list[float | None]
"""A value for each line of a panel, at one time; None: not known."""
ResultT = TypeVar("ResultT")
Steps = Generator[None, None, ResultT]
"""Work in steps of about half a millisecond, and its result."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot of the page."""

    name: str
    """Id in HTML."""
    section: str
    title: str
    unit: str
    """`seconds`, `ratio`, `rate` (per second) or `count`."""
    lines: tuple[tuple[str, str], ...]
    """Up to four legends, each with a query for one series. `$rate`, `$failed` and `$buckets` stand for parts that
    differ where a route is chosen."""
    absent: str
    """Words for the plot having no values at all."""


def _quantiles(buckets: str, shares: tuple[float, ...] = QUANTILES) -> tuple[tuple[str, str], ...]:
    return tuple((f"p{share * 100:g}", f"histogram_quantile({share}, {buckets})") for share in shares)


_UNRECORDED: Final = "Nothing is recorded yet. Rules record requests once a minute, unless ORDINAUT_OBS_ALERTS is off."
_UNCALLED: Final = "No request to this route was counted in this time."
_UNREAD: Final = "No value is known: PostgreSQL is not read, or it has none."
_DEPTH, _AGE = "max(orchestrator_queue_depth)", "max(orchestrator_oldest_due_work_age_seconds)"
_DONE: Final = "max(rate(orchestrator_work_items_processed_total[5m]))"

PANELS: Final = (
    Panel("http-rate", "http", "Requests", "rate", (("all", "$rate"), ("5xx", "$failed")), _UNRECORDED),
    Panel("http-errors", "http", "Share of requests that fail", "ratio", (("5xx", "$failed / $rate"),), _UNRECORDED),
    Panel("http-latency", "http", "Duration of requests", "seconds", _quantiles("$buckets"), _UNRECORDED),
    Panel("queue-depth", "queue", "Work that is due", "count", (("items", _DEPTH),), _UNREAD),
    Panel("queue-age", "queue", "Age of the oldest due work", "seconds", (("oldest", _AGE),), _UNREAD),
    Panel("queue-throughput", "queue", "Work done", "rate", (("items", _DONE),), _UNREAD),
    Panel("queue-drift", "queue", "Delay of work", "seconds", _quantiles(_DRIFT, QUANTILES[:2]), _UNREAD),
)


@dataclass(frozen=True, slots=True)
class Plot:
    """A panel and its values. Times are in milliseconds since 1970."""

    panel: Panel
    queries: tuple[str, ...]
    """PromQL of each line."""
    times_ms: list[int]
    lines: list[tuple[str, list[float | None]]]
    """Legends, and a value for each time; None: not known."""
    start_ms: int
    end_ms: int
    absent: str = ""
    """Words for there being no value at all."""


class RouteRow(NamedTuple):
    """A route: requests per second, share of 5xx, quantiles of durations in seconds; None: not known."""

    route: str
    rate: float
    error_ratio: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class RouteTable(NamedTuple):
    """The routes with the most requests in the last seconds, and the number of others that had some."""

    rows: list[RouteRow]
    others: int
    seconds: int


class Plots:
    """Evaluates each step of the panels once, and the table of routes once for each tick of the history."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: tuple[object, int] = (None, 0)
        """The history's table and the time by which it was moved, for which is remembered."""
        self._columns: dict[tuple[tuple[str, ...], int], dict[int, Column]] = {}
        """Columns by time, for queries and a step; those asked for last stand last."""
        self._tables: dict[tuple[int, int], RouteTable] = {}
        """The table of routes by tick and window."""
        self.evaluated = 0
        """Columns evaluated so far."""

    def read(self, source: History, route: str, range_seconds: float) -> Steps[dict[str, Plot]]:
        """The plots by name, of all routes or of one, up to now."""
        self._forget_others(source)
        range_ms, newest_ms = round(range_seconds * 1000), source.table.last_ms
        step_ms = -(-range_ms // STEPS // SHORTEST_STEP_MS) * SHORTEST_STEP_MS
        last_ms = max(round(self._clock.wall() * 1000), newest_ms) // step_ms * step_ms
        times = range(last_ms - range_ms // step_ms * step_ms, last_ms + 1, step_ms)
        plots = {}
        for panel in PANELS:
            queries = tuple(_filled(query, route) for _, query in panel.lines)
            absent = _UNCALLED if route and panel.section == "http" else panel.absent
            columns: dict[int, Column] = {}
            try:
                columns = yield from self._read_columns(source, queries, times, newest_ms)
            except QueryError as error:
                absent = f"The query failed: {error}."
            lines = [(legend, [column[i] for column in columns.values()]) for i, (legend, _) in enumerate(panel.lines)]
            if any(value is not None for _, values in lines for value in values):
                absent = ""
            end_ms = max(last_ms, newest_ms)
            plots[panel.name] = Plot(panel, queries, list(columns), lines, times[0], end_ms, absent)
            yield
        return plots

    def read_routes(self, source: History, range_seconds: float) -> Steps[RouteTable]:
        """The table of routes over the range, or over what the history has of it, an hour at most."""
        self._forget_others(source)
        newest_ms = source.table.last_ms
        known_seconds = (newest_ms - (source.kept_since_ms or 0)) // 1000
        seconds = max(60, min(round(range_seconds), MAX_TABLE_SECONDS, known_seconds))
        table = self._tables.get((newest_ms, seconds))
        if table is None:
            table = yield from _read_routes(source, newest_ms, seconds)
            self._tables = {at: each for at, each in self._tables.items() if at[0] == newest_ms}
            self._tables[newest_ms, seconds] = table
        return table

    def _forget_others(self, source: History) -> None:
        """Begin anew where the history did, or where its times were moved."""
        if self._known != (source.table, source.shifted_ms):
            self._known, self._columns, self._tables = (source.table, source.shifted_ms), {}, {}

    def _read_columns(
        self, source: History, queries: tuple[str, ...], times: range, newest_ms: int
    ) -> Steps[dict[int, Column]]:
        """The columns at these times up to the newest tick, and at that: later ones may still change."""
        key = (queries, times.step)
        known = self._columns.pop(key, {})
        missing = [time for time in times if time <= newest_ms and time not in known]
        columns = {time: column for time, column in known.items() if time >= times[0]}
        if missing:
            columns |= yield from _evaluate(source, queries, range(missing[0], missing[-1] + 1, times.step))
        self._columns[key] = columns
        while len(self._columns) > MAX_REMEMBERED * len(PANELS):
            del self._columns[next(iter(self._columns))]
        newest: dict[int, Column] = {}
        if newest_ms >= times[0] and newest_ms not in columns:
            newest = yield from _evaluate(source, queries, range(newest_ms, newest_ms + 1))
        self.evaluated += len(missing) + len(newest)
        return columns | newest


def _filled(query: str, route: str) -> str:
    """The query with its parts, about this route or about all."""
    for name, part in (_OF_ROUTE if route else _OVERALL).items():
        query = query.replace(name, part)
    return query.replace("$route", orjson.dumps(route).decode())  # PromQL reads JSON's escapes, as Go does


def _evaluate(source: History, queries: tuple[str, ...], times: range) -> Steps[dict[int, Column]]:
    """A value of each query at these times. Buckets that several quantiles are taken from are evaluated once."""
    columns: dict[int, Column] = {time: [] for time in times}
    found: dict[str, list[Series]] = {}
    for query in queries:
        quantile = _QUANTILE.fullmatch(query)
        expression = quantile[2] if quantile else query
        if expression not in found:
            found[expression] = yield from _matrix(source, expression, times)
        series = found[expression]
        values = _quantiles_of(series, float(quantile[1])) if quantile else _values_of(series)
        for time, column in columns.items():
            column.append(_number(values.get(time)))
        yield
    return columns


def _matrix(source: SampleSource, expression: str, times: range) -> Steps[list[Series]]:
    """The series that PromQL gives at these times."""
    answer = yield from evaluate(Query(parse(expression), times[0], times[-1], times.step), source, Limits())
    return cast("list[Series]", answer.value)


def _number(value: float | None) -> float | None:
    """The value, None where it is no number: a quotient of nothing is not zero."""
    return value if value is not None and isfinite(value) else None


def _values_of(series: list[Series]) -> dict[int, float]:
    return {time: value for each in series for time, value in zip(each.timestamps, each.values, strict=True)}


def _quantiles_of(series: list[Series], share: float) -> dict[int, float]:
    buckets: defaultdict[int, Buckets] = defaultdict(list)
    for each in series:
        bound = float(value_of(each.labels, "le"))
        for time, count in zip(each.timestamps, each.values, strict=True):
            buckets[time].append((bound, count))
    return {time: bucket_quantile(of_time, share) for time, of_time in buckets.items()}


@dataclass(frozen=True, slots=True)
class _OfRoutes:
    """The series of some routes: a source, and its condition, since a regular expression of many would be slow."""

    source: History
    routes: frozenset[str]
    name: str = "endpoint"
    equal_to: str | None = None

    def matches(self, value: str) -> bool:
        return value in self.routes

    def select(self, matchers: Collection[Matcher], start_ms: int, end_ms: int) -> Iterator[Series | None]:
        return self.source.select([*matchers, self], start_ms, end_ms)


def _read_routes(source: History, time_ms: int, seconds: int) -> Steps[RouteTable]:
    at = range(time_ms, time_ms + 1)
    rates: defaultdict[str, float] = defaultdict(float)
    failures: defaultdict[str, float] = defaultdict(float)
    requests = yield from _matrix(source, f"sum by (endpoint, status_code) (rate({_REQUESTS}[{seconds}s]))", at)
    for labels, _, values in requests:
        route = value_of(labels, "endpoint")
        rates[route] += values[0]
        failures[route] += values[0] if value_of(labels, "status_code").startswith("5") else 0.0
    called = [(rate, route) for route, rate in rates.items() if rate]
    shown = nlargest(MAX_ROUTES, called)
    yield
    of_shown = _OfRoutes(source, frozenset(route for _, route in shown))
    buckets: defaultdict[str, list[Series]] = defaultdict(list)
    for series in (yield from _matrix(of_shown, f"sum by (endpoint, le) (rate({_SECONDS}[{seconds}s]))", at)):
        buckets[value_of(series.labels, "endpoint")].append(series)
    rows = []
    for rate, route in shown:
        durations = [_number(_quantiles_of(buckets[route], share).get(time_ms)) for share in QUANTILES]
        rows.append(RouteRow(route, rate, failures[route] / rate, *durations))
        yield
    return RouteTable(rows, len(called) - len(shown), seconds)
