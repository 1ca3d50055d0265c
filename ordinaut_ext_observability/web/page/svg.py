"""Plots, and strips of statuses, as SVG: every text escaped, colours by classes alone, so the same input is the same text.

What is drawn is stretched to the width there is; texts are not, so they can be read on any screen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final

from ordinaut_ext_observability.web.page.plots import Plot

_WIDTH, _HEIGHT, _TOP = 600, 140, 14
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3")
"""Dashes by line, which then differ by more than their colours."""
_BAR_HEIGHTS: Final = {"degraded": 11, "unhealthy": 16}
"""Heights by status, for the same reason; any other is 6."""
_MAX_MARKERS: Final = 20
_ROUND_SECONDS: Final = (30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800)
_STROKE: Final = 'fill="none" vector-effect="non-scaling-stroke"'


def format_value(value: float | None, unit: str) -> str:
    """A value in three digits with its unit, `seconds`, `ratio`, `rate` or `count`: `12.3 ms` for 0.0123 seconds."""
    if value is None:
        return "–"
    if unit == "seconds":
        sizes = ((86_400, " d"), (3600, " h"), (60, " min"), (1, " s"), (0.001, " ms"))
        size, name = next((size for size in sizes if value >= size[0]), sizes[-1])
        value /= size
    else:
        name = {"ratio": "%", "rate": "/s"}.get(unit, "")
        value *= 100 if unit == "ratio" else 1
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + name


def ticks(top: float, unit: str) -> list[float]:
    """Two to five round numbers, from 0 to `top` or above."""
    top = top if top > 1e-9 else 0.01 if unit == "ratio" else 1.0
    power = 10.0 ** floor(log10(top / 4))
    steps = _ROUND_SECONDS if unit == "seconds" and top > 60 else (power, 2 * power, 5 * power, 10 * power)
    step = next((step for step in steps if step * 4.000001 >= top), top / 4)
    return [step * number for number in range(ceil(top / step - 1e-6) + 1)]


def figure_html(plot: Plot, markers: Iterable[tuple[float, str]]) -> str:
    """The whole figure: title, picture or the reason why there is none, legend with the last values, PromQL."""
    title, unit, name = escape(plot.panel.title), plot.panel.unit, escape(plot.panel.name)
    legend, queries = "", ""
    for number, (label, values) in enumerate(plot.lines):
        key = f'<svg class="key" width="28" height="8" aria-hidden="true">{_line(number, "M0 4H28")}</svg>'
        legend += f"<li>{key}{escape(label)} <b>{_last(values, unit)}</b></li>"
    for query in plot.queries:
        queries += f"<p><code>{escape(query)}</code> <button type=button data-copy>Copy</button></p>"
    picture = f'<p class="absent">{escape(plot.absent)}</p>' if plot.absent else plot_svg(plot, markers)
    legend = "" if plot.absent else f'<ul class="legend">{legend}</ul><output></output>'
    return (
        f'<figure class="plot" id="{name}"><figcaption>{title}</figcaption>{picture}{legend}'
        f"<details><summary>PromQL</summary>{queries}</details></figure>"
    )


def plot_svg(plot: Plot, markers: Iterable[tuple[float, str]]) -> str:
    """The picture of a plot, with lines at these times (in milliseconds since 1970) and their labels."""
    unit, span = plot.panel.unit, max(1, plot.end_ms - plot.start_ms)
    scale = ticks(max((value for _, values in plot.lines for value in values if value is not None), default=0), unit)
    heights = [_HEIGHT - _HEIGHT * tick / scale[-1] for tick in scale]
    drawn = f'<path class="grid" {_STROKE} d="{"".join(f"M0 {_short(y)}H{_WIDTH}" for y in heights)}"/>'
    texts = ""
    for tick, y in zip(scale, heights, strict=True):
        texts += f'<text class="axis" x="2" y="{_short(y + _TOP - 3)}">{format_value(tick, unit)}</text>'
    for share, anchor, text in _times(span / 1000):
        place = f'x="{_short(share * 100)}%" y="{_TOP + _HEIGHT + 14}" text-anchor="{anchor}"'
        texts += f'<text class="axis" {place}>{text}</text>'
    xs = [_short(_WIDTH * (time - plot.start_ms) / span) for time in plot.times_ms]
    for number, (_, values) in enumerate(plot.lines):
        drawn += _line(number, _path(xs, values, scale[-1]))
    for time, label in sorted(markers)[-_MAX_MARKERS:]:
        if plot.start_ms <= time <= plot.end_ms:
            x = _short(_WIDTH * (time - plot.start_ms) / span)
            drawn += f'<path class="marker" {_STROKE} d="M{x} 0V{_HEIGHT}"><title>{escape(label)}</title></path>'
    data = "|".join(";".join(format_value(value, unit) for value in values) for _, values in plot.lines)
    times = ";".join(str(time // 1000) for time in plot.times_ms)
    return (
        f'<svg class="plot-area" width="100%" height="{_TOP + _HEIGHT + 20}" role="img" tabindex="0"'
        f' data-times="{times}" data-xs="{";".join(xs)}" data-values="{data}">{_named(plot.panel.title, _described(plot))}'
        f'<svg y="{_TOP}" width="100%" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">'
        f'{drawn}<path class="cursor" {_STROKE} d=""/></svg>{texts}</svg>'
    )


def strip_svg(segments: Iterable[tuple[float, float, str]], start_ms: float, end_ms: float, label: str) -> str:
    """A bar of statuses, each from a time to a time (in milliseconds since 1970); nothing where none is known."""
    bars, seconds, span = "", defaultdict[str, float](float), max(1, end_ms - start_ms)
    for start, end, status in segments:
        start, end = max(start, start_ms), min(end, end_ms)
        if start < end:
            seconds[status] += (end - start) / 1000
            x, width, height = (
                (start - start_ms) / span * _WIDTH,
                (end - start) / span * _WIDTH,
                _BAR_HEIGHTS.get(status, 6),
            )
            place = f'x="{_short(x)}" y="{16 - height}" width="{_short(max(width, 1))}" height="{height}"'
            bars += f'<rect class="status-{escape(status)}" {place}/>'
    said = ", ".join(f"{status} for {format_value(each, 'seconds')}" for status, each in seconds.items())
    return (
        f'<svg class="strip" width="100%" height="16" viewBox="0 0 {_WIDTH} 16" preserveAspectRatio="none" role="img">'
        f"{_named(label, said or 'nothing is known')}{bars}</svg>"
    )


def _named(title: str, description: str) -> str:
    return f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"


def _described(plot: Plot) -> str:
    """A sentence for each line, for those who cannot see it."""
    sentences = []
    for label, values in plot.lines:
        known, unit = [value for value in values if value is not None], plot.panel.unit
        low, high = (format_value(each(known, default=None), unit) for each in (min, max))
        sentences.append(f"{label}: lowest {low}, highest {high}, last {_last(values, unit)}.")
    return " ".join(sentences)


def _last(values: Sequence[float | None], unit: str) -> str:
    return format_value(values[-1] if values else None, unit)


def _line(number: int, path: str) -> str:
    dashes = f' stroke-dasharray="{_DASHES[number % 4]}"' if number else ""
    return f'<path class="line line-{number}" {_STROKE}{dashes} d="{path}"/>'


def _path(xs: Sequence[str], values: Sequence[float | None], top: float) -> str:
    """The line through known values, with gaps between; one alone is a dot, as ends of lines are round."""
    path, joined = "", False
    for x, value in zip(xs, values, strict=True):
        if value is not None:
            path += f"{'L' if joined else 'M'}{x} {_short(_HEIGHT - _HEIGHT * value / top)}{'' if joined else 'h0'}"
        joined = value is not None
    return path


def _times(seconds: float) -> list[tuple[float, str, str]]:
    """Places along the axis, as shares, anchors and texts, of round times before now."""
    step = next((each for each in _ROUND_SECONDS if each * 4 >= seconds), seconds)
    times = [step * number for number in range(1, floor(seconds / step) + 1)]
    marks = [
        (1 - time / seconds, "middle" if time < seconds else "start", f"−{format_value(time, 'seconds')}")
        for time in times
    ]
    return [(1.0, "end", "now"), *marks]


def _short(number: float) -> str:
    return f"{round(number, 1):g}"
