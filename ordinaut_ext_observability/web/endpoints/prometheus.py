"""Prometheus's HTTP API, version 1: queries over the history that this process keeps.

Answers and errors are shaped as Prometheus shapes them, but for those of who may ask, which are as everywhere here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import BadQueryError, QueryError
from ordinaut_ext_observability.promql.times import MAX_MS, MIN_MS
from ordinaut_ext_observability.version import __version__
from ordinaut_ext_observability.web.answers import JSON_HEADERS, PiecewiseResponse
from ordinaut_ext_observability.web.endpoints.base import Endpoint, EndpointContext, context_of
from ordinaut_ext_observability.web.prometheus_json import render_answer, render_error, render_labels, render_success
from ordinaut_ext_observability.web.queries import MAX_SECONDS, Parameters, invalid, parsed, read_parameters

Work = Iterator[bytes | None]
"""Work in short steps, some of which give a piece of the answer."""

MAX_POINTS = 11_000
"""Steps of a range, as Prometheus bounds them: more than any screen has columns."""

SPOKEN_VERSION = "3.0.0"
"""The Prometheus whose API this is: clients ask it to know what they may ask."""

_STATUSES = {"bad_data": 400, "execution": 422, "internal": 500}  # HTTP statuses by error type; others are 503
_LOOKBACK_MS = 5 * 60_000  # Prometheus's default: four readings of a usual minute may be missed
_FAILED = "the extension failed; see its internal error count"
_TRUNCATED = "results truncated due to limit"  # Prometheus's words for an answer with more results than were asked for


def _query(parameters: Parameters, context: EndpointContext) -> Work:
    at = parameters.time_ms("time", round(context.queries.clock.wall() * 1000))
    return _evaluate(parameters, context, at, at)


def _query_range(parameters: Parameters, context: EndpointContext) -> Work:
    start, end, step = parameters.time_ms("start"), parameters.time_ms("end"), parameters.duration_ms("step")
    if end < start:
        raise invalid("end", "end timestamp must not be before start time")
    if (end - start) // step > MAX_POINTS:
        words = f"exceeded maximum resolution of {MAX_POINTS:,} points per timeseries."
        raise BadQueryError(f"{words} Try decreasing the query resolution (?step=XX)")
    return _evaluate(parameters, context, start, end, step)


def _evaluate(parameters: Parameters, context: EndpointContext, start_ms: int, end_ms: int, step_ms: int = 0) -> Work:
    from ordinaut_ext_observability.promql.evaluate import evaluate
    from ordinaut_ext_observability.promql.nodes import names_read
    from ordinaut_ext_observability.promql.parse import parse
    from ordinaut_ext_observability.promql.query import Limits, Query

    service, limit = context.queries, parameters.limit()
    source = service.source()
    lookback_ms = parameters.duration_ms("lookback_delta", _LOOKBACK_MS)
    query = Query(parsed("query", parameters.text("query"), parse), start_ms, end_ms, step_ms, lookback_ms)

    def work() -> Work:
        answer = yield from evaluate(query, source, Limits())
        warnings = _cut(answer.value, limit) if isinstance(answer.value, list) else []
        infos = _infos(query, source.since_ms(names_read(query.expression)), service.clock.wall())
        yield from render_success(render_answer(answer, start_ms), warnings=warnings, infos=infos)

    return work()


def _cut(results: list[Any], limit: int) -> list[str]:
    """Leave no more results than the limit, if there is one; the warning where some went."""
    if not 0 < limit < len(results):
        return []
    del results[limit:]
    return [_TRUNCATED]


def _infos(query: Any, since_ms: int | None, now: float) -> list[str]:
    """A remark where the query looks back before what is kept, since what is not known is not zero."""
    earliest = query.earliest_ms()
    if earliest is None:
        return []
    if since_ms is None:
        return ["history has no samples yet"]
    missing = (since_ms - earliest) / 1000
    if missing <= 0:
        return []
    since = datetime.fromtimestamp(since_ms // 1000, UTC).isoformat().replace("+00:00", "Z")
    kept = f"history is kept since {since}, {max(0.0, now - since_ms / 1000):.0f} s"
    return [f"{kept}; the query looks {missing:.0f} s further back, of which nothing is known"]


def _series(parameters: Parameters, context: EndpointContext) -> Work:
    if not parameters.get("match[]", []):
        raise BadQueryError("no match[] parameter provided")
    return _list(parameters, context, lambda labels: [labels])


def _labels(parameters: Parameters, context: EndpointContext) -> Work:
    return _list(parameters, context, lambda labels: [name for name, _ in labels])


def _label_values(parameters: Parameters, context: EndpointContext) -> Work:
    name = _unescaped(parameters.text("name"))
    return _list(parameters, context, lambda labels: [value for key, value in labels if key == name])


def _list(
    parameters: Parameters, context: EndpointContext, found_in: Callable[[Labels], list[Labels] | list[str]]
) -> Work:
    """A list of what is found in the labels of each matching series, each once; texts are sorted."""
    source, limit = context.queries.source(), parameters.limit()
    start, end = parameters.time_ms("start", MIN_MS), parameters.time_ms("end", MAX_MS)
    selectors = parameters.selectors()

    def work() -> Work:
        found: dict[str | Labels, None] = {}
        for matchers in [selector.matchers for selector in selectors] or [()]:
            for series in source.select(matchers, start, end):
                if series is not None:
                    found.update(dict.fromkeys(found_in(series.labels)))
                yield None
        items: list[str | Labels] = [*sorted(item for item in found if isinstance(item, str))] or list(found)
        warnings = _cut(items, limit)
        yield from render_success(render_labels(items), warnings=warnings)

    return work()


def _metadata(parameters: Parameters, context: EndpointContext) -> Work:
    metric, limit = parameters.text("metric"), parameters.limit()
    data = {
        family.name: [{"type": family.kind, "help": family.documentation, "unit": ""}]
        for registry in context.queries.registries
        for family in registry.families()
        if metric in ("", family.name)
    }
    data = dict(islice(data.items(), limit or None))
    return render_success([orjson.dumps(data)])


def _build_info(_parameters: Parameters, _context: EndpointContext) -> Work:
    ours = {"version": SPOKEN_VERSION, "revision": __version__, "branch": "ordinaut-ext-observability"}
    return render_success([orjson.dumps(ours | dict.fromkeys(("buildUser", "buildDate", "goVersion"), ""))])


def _format_query(parameters: Parameters, _context: EndpointContext) -> Work:
    from ordinaut_ext_observability.promql.parse import format_query

    return render_success([orjson.dumps(parsed("query", parameters.text("query"), format_query))])


def _unescaped(name: str) -> str:
    """The label of this name, which Prometheus's clients escape where it is no identifier: `U__a_2e_b` is `a.b`."""
    if not name.startswith("U__"):
        return name
    escape = re.compile(r"_(?:_|([0-9A-Fa-f]{1,5})_)")
    return escape.sub(lambda found: chr(int(found[1], 16)) if found[1] else "_", name[3:])


def api_endpoint(path: str, answer: Callable[[Parameters, EndpointContext], Work], said: str) -> Endpoint:
    """An endpoint of the API, whose work is made from the parameters and the context."""

    async def handle(request: Request) -> Response:
        context = context_of(request)
        service = context.queries
        started, outcome = monotonic_seconds(), "success"
        try:
            parameters = await read_parameters(request)
            seconds = min(MAX_SECONDS, parameters.duration_ms("timeout", round(MAX_SECONDS * 1000)) / 1000)
            pieces = await service.run(request, partial(answer, parameters, context), seconds)
            return PiecewiseResponse(pieces, JSON_HEADERS)
        except QueryError as error:
            outcome = error.error_type
            return Response(render_error(outcome, str(error)), _STATUSES.get(outcome, 503), JSON_HEADERS)
        except Exception:  # noqa: BLE001 - its text could hold secrets, so it is only counted
            outcome = "internal"
            service.metrics.count_internal_error("query")
            return Response(render_error(outcome, _FAILED), _STATUSES[outcome], JSON_HEADERS)
        finally:
            service.metrics.queries.labels(outcome).inc()
            service.metrics.query_seconds.labels().observe(monotonic_seconds() - started)

    answers = {200: "The answer, as Prometheus gives it.", 400: _ERROR, 422: _ERROR, 500: _ERROR, 503: _ERROR}
    return Endpoint(f"/api/v1{path}", "operator", handle, said, answers, methods=("GET", "POST"), changes=False)


_ERROR = "An error in Prometheus's shape: status, errorType, error."
_SPAN = "start, end, limit"

ENDPOINTS = (
    api_endpoint("/query", _query, "PromQL at one time: query, time, timeout, limit"),
    api_endpoint("/query_range", _query_range, "PromQL over a range: query, start, end, step, timeout, limit"),
    api_endpoint("/series", _series, f"label sets of series: match[], {_SPAN}"),
    api_endpoint("/labels", _labels, f"label names: match[], {_SPAN}"),
    api_endpoint("/label/{name}/values", _label_values, f"values of a label: match[], {_SPAN}"),
    api_endpoint("/metadata", _metadata, "types and meanings of metrics: metric, limit"),
    api_endpoint("/status/buildinfo", _build_info, "the version of Prometheus whose API this is"),
    api_endpoint("/format_query", _format_query, "a query as it is usually laid out: query"),
)
