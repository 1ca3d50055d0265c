"""`query`: PromQL asked of a running service, the answer as a table; ranges are drawn as lines of blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.cli.http_client import ask, ask_at, raise_refusal
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.promql.times import parse_duration, parse_time

_BLOCKS = "▁▂▃▄▅▆▇█"
_USUAL_STEPS = 60
_LEAST_STEP_MS = 15_000
"""The default pause between two samples: with a shorter step, the same sample would be shown twice."""
_MOST_CELLS, _FEWEST_CELLS = 60, 22  # the heading, two times, takes 22

Points = Sequence[tuple[float, str]]


def query_parameters(expression: str, at: str, span: str, step: str) -> dict[str, str]:
    """The parameters of a query at a time, empty for now, or where there is a span, over that span before it.

    Raises ObservabilityError where the span, or the time before which it lies, cannot be read.
    """
    if not span:
        return {"query": expression, **({"time": at} if at else {})}
    try:
        end_ms, span_ms = parse_time(at or str(wall_seconds())), parse_duration(span)
    except ValueError:
        given = f"--range {span} --time {at}" if at else f"--range {span}"
        raise ObservabilityError(f"{given}: give a duration as 1h, and a time as 2026-11-23T22:19:04Z.") from None
    usual_step = f"{max(_LEAST_STEP_MS, span_ms // _USUAL_STEPS)}ms"
    start, end = (f"{time_ms / 1000:.3f}" for time_ms in (end_ms - span_ms, end_ms))
    return {"query": expression, "start": start, "end": end, "step": step or usual_step}


def ask_service(url: str, token: str, parameters: Mapping[str, str], timeout_seconds: float) -> dict[str, Any]:
    """The answer of the service at this URL, its base or its mount path, or of a Prometheus; it may be an error.

    It is asked by POST: Ordinaut's full host turns away some queries in URLs. Raises NoAnswerError where nobody answers
    as Prometheus does, or the service does not let us ask.
    """
    path = "/api/v1/query_range" if "step" in parameters else "/api/v1/query"
    body = urlencode({**parameters, "timeout": f"{timeout_seconds:g}"})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    def ask_one(place: str) -> dict[str, Any] | None:
        answer = ask(place, token, timeout_seconds + 1.0, "POST", body, **headers)
        fields = answer.fields()
        if "data" in fields or "errorType" in fields:
            return fields
        raise_refusal(answer, " --token takes the service's ORDINAUT_OBS_OPERATOR_TOKEN or ORDINAUT_OBS_VIEWER_TOKEN.")
        return None

    subject = "with a query API, or with more than can be read here: ask for fewer series then"
    return ask_at(url, path, subject, ask_one)


def print_answer(console: Console, answer: Mapping[str, Any]) -> int:
    """Print an answer, or what was wrong with the query; the exit status."""
    if answer.get("status") != "success":
        console.print(Text(str(answer.get("error", "")).removeprefix('invalid parameter "query": ')))
        return 1
    kind, result = answer["data"]["resultType"], answer["data"]["result"]
    if kind in ("scalar", "string"):
        console.print(Text(str(result[1])))
    elif not result:
        console.print(Text("No series."))
    else:
        _print_series(console, result, drawn=kind == "matrix")
    for remark in (*answer.get("warnings", ()), *answer.get("infos", ())):
        console.print(Text(str(remark), style="dim"))
    return 0


def _print_series(console: Console, series: Sequence[Mapping[str, Any]], *, drawn: bool) -> None:
    """A table of the labels in which the series differ; those that they have in common stand above it."""
    metrics = [one["metric"] for one in series]
    names = sorted({name for metric in metrics for name in metric})
    differing = [name for name in names if len({metric.get(name) for metric in metrics}) > 1]
    common = {name: metrics[0][name] for name in names if name not in differing}
    if common:
        pairs = ", ".join(f'{name}="{value}"' for name, value in common.items() if name != "__name__")
        console.print(Text(common.get("__name__", "") + (f"{{{pairs}}}" if pairs else "")))
    table = Table(box=None, pad_edge=False)
    for name in differing:
        table.add_column("metric" if name == "__name__" else name, overflow="fold")
    for head in ("min", "max", "last") if drawn else ("value",):
        table.add_column(head, justify="right", no_wrap=True)
    rows = [
        [metric.get(name, "") for name in differing] + (_extremes(one["values"]) if drawn else [one["value"][1]])
        for metric, one in zip(metrics, series, strict=True)
    ]
    if drawn:
        columns = zip(table.columns, *rows, strict=True)
        taken = sum(max(map(len, (str(column.header), *texts))) + 1 for column, *texts in columns)
        heading, lines = _draw([one["values"] for one in series], max(_FEWEST_CELLS, console.width - taken))
        table.add_column(heading, no_wrap=True)
        rows = [[*row, line] for row, line in zip(rows, lines, strict=True)]
    for row in rows:
        table.add_row(*map(Text, row))  # as text: what stands in square brackets is no markup
    console.print(table)


def _extremes(points: Points) -> list[str]:
    """The least, the greatest and the last value, in six digits: beside a drawing, more are only in the way."""
    values = [float(value) for _, value in points if value != "NaN"] or [math.nan]
    return [f"{value:.6g}" for value in (min(values), max(values), float(points[-1][1]))]


def _draw(series: Sequence[Points], width: int) -> tuple[str, list[str]]:
    """A heading and a line for each series, all over the same times, blank where there is no value.

    Where a character stands for several values, it shows the last.
    """
    times = sorted({at for points in series for at, _ in points})
    first, span = times[0], times[-1] - times[0]
    step = min((later - earlier for earlier, later in pairwise(times)), default=1.0)
    cell_seconds = max(step, span / (min(width, _MOST_CELLS) - 1))
    lines = []
    for points in series:
        values = [(at, float(value)) for at, value in points if math.isfinite(float(value))]
        low, high = (extreme((value for _, value in values), default=0.0) for extreme in (min, max))
        cells = [" "] * (round(span / cell_seconds) + 1)
        for at, value in values:
            height = (value - low) / (high - low) if high > low else 0.0
            cells[round((at - first) / cell_seconds)] = _BLOCKS[min(7, int(height * 8))]
        lines.append("".join(cells))
    clocks = [datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ") for at in (first, times[-1])]
    return " to ".join(clocks), lines
