"""Prometheus's HTTP API, version 1: queries over the history that this process keeps.

Answers and errors are shaped as Prometheus shapes them, but for those of who may ask, which are as everywhere here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Iterator
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.errors import BadQueryError, QueryError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.nodes import Node, VectorSelector
from ordinaut_ext_observability.promql.parse import format_query, parse
from ordinaut_ext_observability.promql.query import Limits, Query
from ordinaut_ext_observability.promql.times import MAX_MS, MIN_MS
from ordinaut_ext_observability.version import __version__
from ordinaut_ext_observability.web.answers import NO_STORE, PiecewiseResponse
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.prometheus_json import (
    TRUNCATED,
    dump,
    render_answer,
    render_error,
    render_list,
    render_success,
)
from ordinaut_ext_observability.web.prometheus_parameters import Parameters, invalid, read_parameters
from ordinaut_ext_observability.web.queries import MAX_SECONDS, KeptSamples, QueryService

Pieces = Generator[None, None, list[bytes]]
"""Work in short steps, which gives the pieces of an answer."""

MAX_POINTS = 11_000
"""Steps of a range, as Prometheus bounds them: more than any screen has columns."""

SPOKEN_VERSION = "3.0.0"
"""The Prometheus whose API this is: clients ask it to know what they may ask."""

_STATUSES = {"bad_data": 400, "execution": 422, "not_found": 404, "internal": 500}
"""HTTP statuses by error type; others are 503."""
_LOOKBACK_MS = 5 * 60_000  # Prometheus's default: four readings of a usual minute may be missed
_HEADERS = {**NO_STORE, "Content-Type": "application/json"}
_FAILED = "the extension failed; see its internal error count"
_ESCAPED_NAME = re.compile(r"U__(?:__|_[0-9A-Fa-f]{1,6}_|[A-Za-z0-9:])*")
_ESCAPE = re.compile(r"_(_|[0-9A-Fa-f]{1,6}_)")


async def _query(request: Request, parameters: Parameters, service: QueryService) -> list[bytes]:
    at = parameters.time_ms("time", round(service.clock.wall() * 1000))
    return await _evaluate(request, parameters, service, at, at)


async def _query_range(request: Request, parameters: Parameters, service: QueryService) -> list[bytes]:
    start, end = parameters.time_ms("start"), parameters.time_ms("end")
    if end < start:
        raise invalid("end", "end timestamp must not be before start time")
    step = parameters.duration_ms("step")
    if step <= 0:
        words = "zero or negative query resolution step widths are not accepted. Try a positive integer"
        raise invalid("step", words)
    if (end - start) // step > MAX_POINTS:
        words = f"exceeded maximum resolution of {MAX_POINTS:,} points per timeseries."
        raise BadQueryError(f"{words} Try decreasing the query resolution (?step=XX)")
    return await _evaluate(request, parameters, service, start, end, step)


async def _evaluate(
    request: Request, parameters: Parameters, service: QueryService, start_ms: int, end_ms: int, step_ms: int = 0
) -> list[bytes]:
    limit, seconds = parameters.limit(), parameters.seconds("timeout", MAX_SECONDS)
    lookback_ms = parameters.duration_ms("lookback_delta", _LOOKBACK_MS)
    if lookback_ms <= 0:
        raise invalid("lookback_delta", "must be more than zero")
    query = Query(_parse("query", parameters.text("query")), start_ms, end_ms, step_ms, lookback_ms)
    work = _evaluated(query, service.source(), limit, seconds, service.clock.wall())
    return await service.run(request, work, seconds)


def _evaluated(query: Query, source: KeptSamples, limit: int, seconds: float, now: float) -> Pieces:
    answer = yield from evaluate(query, source, Limits(seconds=seconds))
    warnings = [TRUNCATED] if limit and isinstance(answer.value, list) and len(answer.value) > limit else []
    data = render_answer(answer, query.start_ms, limit)
    return (yield from render_success(data, infos=_infos(query, source, now), warnings=warnings))


def _infos(query: Query, source: KeptSamples, now: float) -> list[str]:
    """A remark where the query looks back before what is kept, since what is not known is not zero."""
    since_ms, earliest = source.kept_since_ms, query.earliest_ms()
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


async def _series(request: Request, parameters: Parameters, service: QueryService) -> list[bytes]:
    if not parameters.texts("match[]"):
        raise BadQueryError("no match[] parameter provided")
    return await _list(request, parameters, service, lambda labels: [labels])


async def _labels(request: Request, parameters: Parameters, service: QueryService) -> list[bytes]:
    return await _list(request, parameters, service, lambda labels: [name for name, _ in labels])


async def _label_values(request: Request, parameters: Parameters, service: QueryService) -> list[bytes]:
    name = _unescaped(request.path_params["name"])
    return await _list(request, parameters, service, lambda labels: [value for key, value in labels if key == name])


async def _list(
    request: Request,
    parameters: Parameters,
    service: QueryService,
    found_in: Callable[[Labels], list[Labels] | list[str]],
) -> list[bytes]:
    """A list of what is found in the labels of each matching series, each once; texts are sorted."""
    start, end = parameters.time_ms("start", MIN_MS), parameters.time_ms("end", MAX_MS)
    selectors = _parsed_selectors(parameters)
    work = _listed(service.source(), selectors, (start, end), found_in, parameters.limit())
    return await service.run(request, work)


def _listed(
    source: KeptSamples,
    selectors: list[VectorSelector],
    times: tuple[int, int],
    found_in: Callable[[Labels], list[Labels] | list[str]],
    limit: int,
) -> Pieces:
    found: dict[str | Labels, None] = {}
    for matchers in [selector.matchers for selector in selectors] or [()]:
        for series in source.select(matchers, *times):
            if series is not None:
                found.update(dict.fromkeys(found_in(series.labels)))
            yield
    items: list[str | Labels] = [*sorted(item for item in found if isinstance(item, str))] or list(found)
    warnings = [TRUNCATED] if limit and len(items) > limit else []
    return (yield from render_success(render_list(items[: limit or None]), warnings=warnings))


async def _metadata(request: Request, parameters: Parameters, service: QueryService) -> list[bytes]:
    metric, limit = parameters.text("metric"), parameters.limit()
    families = [family for family in (await service.shown()).families() if metric in ("", family.name)]

    def data() -> Iterator[str]:
        yield "{"
        for number, family in enumerate(families[: limit or None]):
            described = [{"type": family.kind, "help": family.documentation, "unit": ""}]
            yield f"{',' if number else ''}{dump(family.name)}:{dump(described)}"
        yield "}"

    return await service.run(request, render_success(data()))


async def _build_info(request: Request, _: Parameters, service: QueryService) -> list[bytes]:
    ours = {"version": SPOKEN_VERSION, "revision": __version__, "branch": "ordinaut-ext-observability"}
    data = ours | dict.fromkeys(("buildUser", "buildDate", "goVersion"), "")
    return await service.run(request, render_success([dump(data)]))


async def _format_query(request: Request, parameters: Parameters, service: QueryService) -> list[bytes]:
    try:
        text = format_query(parameters.text("query"))
    except BadQueryError as error:
        raise invalid("query", str(error)) from None
    return await service.run(request, render_success([dump(text)]))


def _parsed_selectors(parameters: Parameters) -> list[VectorSelector]:
    selectors = []
    for text in parameters.texts("match[]"):
        selector = _parse("match[]", text)
        if not isinstance(selector, VectorSelector):
            raise invalid("match[]", 'is not a selector such as up{job="api"}')
        selectors.append(selector)
    return selectors


def _parse(parameter: str, text: str) -> Node:
    try:
        return parse(text)
    except BadQueryError as error:
        raise invalid(parameter, str(error)) from None


def _unescaped(name: str) -> str:
    """The label of this name, which Prometheus's clients escape where it is no identifier: `U__a_2e_b` is `a.b`."""
    if not _ESCAPED_NAME.fullmatch(name):
        return name
    codes = _ESCAPE.finditer(name, 3)
    if any(len(code[1]) > 1 and int(code[1][:-1], 16) > 0x10FFFF for code in codes):
        return name
    return _ESCAPE.sub(lambda code: "_" if code[1] == "_" else chr(int(code[1][:-1], 16)), name[3:])


Answer = Callable[[Request, Parameters, QueryService], Awaitable[list[bytes]]]


def _endpoint(path: str, answer: Answer, description: str) -> Endpoint:
    async def handle(request: Request) -> Response:
        service = context_of(request).queries
        started, outcome = monotonic_seconds(), "success"
        try:
            parameters = await read_parameters(request)
            return PiecewiseResponse(await answer(request, parameters, service), _HEADERS)
        except QueryError as error:
            outcome = error.error_type
            return Response(render_error(outcome, str(error)), _STATUSES.get(outcome, 503), _HEADERS)
        except Exception:  # noqa: BLE001 - its text could hold secrets, so it is only counted
            outcome = "internal"
            service.metrics.count_internal_error("query")
            return Response(render_error(outcome, _FAILED), _STATUSES[outcome], _HEADERS)
        finally:
            service.metrics.queries.labels(outcome).inc()
            service.metrics.query_seconds.labels().observe(monotonic_seconds() - started)

    answers = {200: "The answer, as Prometheus gives it.", 400: _ERROR, 422: _ERROR, 500: _ERROR, 503: _ERROR}
    return Endpoint(f"/api/v1{path}", "operator", handle, description, answers, methods=("GET", "POST"), changes=False)


_ERROR = "An error in Prometheus's shape: status, errorType, error."
_SPAN = "start, end, limit"

ENDPOINTS = (
    _endpoint("/query", _query, "PromQL at one time: query, time, timeout, limit"),
    _endpoint("/query_range", _query_range, "PromQL over a range: query, start, end, step, timeout, limit"),
    _endpoint("/series", _series, f"label sets of series: match[], {_SPAN}"),
    _endpoint("/labels", _labels, f"label names: match[], {_SPAN}"),
    _endpoint("/label/{name}/values", _label_values, f"values of a label: match[], {_SPAN}"),
    _endpoint("/metadata", _metadata, "types and meanings of metrics: metric, limit"),
    _endpoint("/status/buildinfo", _build_info, "the version of Prometheus whose API this is"),
    _endpoint("/format_query", _format_query, "a query as it is usually laid out: query"),
)
