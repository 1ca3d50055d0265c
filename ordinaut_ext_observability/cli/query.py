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
from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.manifest import MOUNT_PATH
from ordinaut_ext_observability.promql.times import parse_duration, parse_time

_BLOCKS = "▁▂▃▄▅▆▇█"
_USUAL_STEPS = 60
_LEAST_STEP_MS = 15_000
"""The default pause between two samples: with a shorter step, the same sample would be shown twice."""
_MOST_CELLS, _FEWEST_CELLS = 60, 22  # the heading, two times, takes 22
_PIPED_WIDTH = 10_000
"""Columns where nobody looks: a program that reads a line wants all of it."""

Labels = Mapping[str, str]


def query_parameters(expression: str, at: str, span: str, step: str) -> dict[str, str]:
    """The parameters of a query at a time, empty for now, or where there is a span, over that span before it.

    Raises ObservabilityError where a time or duration cannot be read.
    """
    if not span:
        return {"query": expression, **({"time": at} if at else {})}
    end_ms = _read(parse_time, "--time", at, "seconds since 1970, or as 2026-11-23T22:19:04Z") if at else None
    end_ms = round(wall_seconds() * 1000) if end_ms is None else end_ms
    durations = "a duration as 1h, 15s or 1h30m"
    span_ms = _read(parse_duration, "--range", span, durations)
    usual_ms = max(_LEAST_STEP_MS, span_ms // _USUAL_STEPS)
    step_ms = _read(parse_duration, "--step", step, durations) if step else usual_ms
    times = {"start": end_ms - span_ms, "end": end_ms, "step": step_ms}
    return {"query": expression, **{name: f"{value / 1000:.3f}" for name, value in times.items()}}


def _read(parse: Any, option: str, text: str, accepted: str) -> int:
    try:
        return int(parse(text))
    except ValueError:
        raise ObservabilityError(f"{option} {text}: give {accepted}.") from None


def ask_service(url: str, token: str, parameters: Mapping[str, str], timeout_seconds: float) -> dict[str, Any]:
    """The answer of the service at this URL, its base or its mount path, or of a Prometheus; it may be an error.

    It is asked by POST: Ordinaut's full host turns away some queries in URLs. Raises NoAnswerError where nobody answers
    as Prometheus does, or the service does not let us ask.
    """
    base = url.rstrip("/")
    path = "/api/v1/query_range" if "step" in parameters else "/api/v1/query"
    body = urlencode({**parameters, "timeout": f"{timeout_seconds:g}"})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for mount in (base,) if base.endswith(MOUNT_PATH) else (base + MOUNT_PATH, base):
        answer = ask(f"{mount}{path}", token, timeout_seconds + 1.0, "POST", body, **headers)
        fields = answer.fields()
        if "data" in fields or "errorType" in fields:
            return fields
        if "request_id" in fields and "message" in fields:
            raise NoAnswerError(_refusal(answer.status_code, str(fields["message"]), token))
    raise NoAnswerError(
        f"{url} answers, but not with a query API, or with more than can be read here: ask for fewer series then.\n"
        f"Asked were {MOUNT_PATH}{path} and {path}. To see why: ordinaut-observability doctor --url {url}"
    )


def _refusal(status_code: int, message: str, token: str) -> str:
    if status_code != 401:
        return message
    if not token:
        return "Give the token with --token (the service's ORDINAUT_OBS_OPERATOR_TOKEN or ORDINAUT_OBS_VIEWER_TOKEN)."
    return "The service rejects the token: it is neither its operator token nor its viewer token."


def make_console() -> Console:
    """A console as wide as the terminal; where it is none, lines are not cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPED_WIDTH)


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
    metrics: list[Labels] = [one["metric"] for one in series]
    names = sorted({name for metric in metrics for name in metric})
    differing = [name for name in names if len({metric.get(name) for metric in metrics}) > 1]
    common = {name: metrics[0][name] for name in names if name not in differing}
    if common:
        console.print(Text(_selector(common)))
    numbers = ["min", "max", "last"] if drawn else ["value"]
    rows = [
        [metric.get(name, "") for name in differing] + (_extremes(one["values"]) if drawn else [one["value"][1]])
        for metric, one in zip(metrics, series, strict=True)
    ]
    heads = ["metric" if name == "__name__" else name for name in differing] + numbers
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        is_number = number >= len(differing)
        table.add_column(head, overflow="fold", justify="right" if is_number else "left", no_wrap=is_number)
    if drawn:
        times = sorted({at for one in series for at, _ in one["values"]})
        table.add_column(f"{_clock(times[0])} to {_clock(times[-1])}", no_wrap=True)
        taken = sum(max(map(len, column)) + 1 for column in zip(heads, *rows, strict=True))
        lines = _draw([one["values"] for one in series], times, max(_FEWEST_CELLS, console.width - taken))
        rows = [[*row, line] for row, line in zip(rows, lines, strict=True)]
    for row in rows:
        table.add_row(*map(Text, row))  # as text: what stands in square brackets is no markup
    console.print(table)


def _selector(labels: Labels) -> str:
    pairs = ", ".join(f'{name}="{value}"' for name, value in labels.items() if name != "__name__")
    return labels.get("__name__", "") + (f"{{{pairs}}}" if pairs else "")


def _extremes(points: Sequence[tuple[float, str]]) -> list[str]:
    """The least, the greatest and the last value, as they were given."""
    values = [value for _, value in points if value != "NaN"] or ["NaN"]
    return [min(values, key=float), max(values, key=float), points[-1][1]]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")


def _draw(series: Sequence[Sequence[tuple[float, str]]], times: Sequence[float], width: int) -> list[str]:
    """A line for each series, over the same times: the mean of what falls into a cell, a space where nothing does."""
    first, span = times[0], times[-1] - times[0]
    step = min((later - earlier for earlier, later in pairwise(times)), default=1.0)
    width = min(width, _MOST_CELLS, round(span / step) + 1)
    lines = []
    for points in series:
        cells: list[list[float]] = [[] for _ in range(width)]
        for at, value in points:
            if math.isfinite(float(value)):
                cells[min(width - 1, int((at - first) / (span or 1.0) * width))].append(float(value))
        means = [sum(cell) / len(cell) if cell else None for cell in cells]
        known = [mean for mean in means if mean is not None]
        low, high = min(known, default=0.0), max(known, default=0.0)
        lines.append("".join(" " if mean is None else _block(mean, low, high) for mean in means))
    return lines


def _block(value: float, low: float, high: float) -> str:
    """The block of this height; the lowest one for all where nothing changes."""
    return _BLOCKS[min(7, int((value - low) / (high - low) * 8)) if high > low else 0]
