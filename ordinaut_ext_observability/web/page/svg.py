"""Plots, and strips of statuses, as SVG in HTML; panels.toml has the markup. The same input is the same text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final

from ordinaut_ext_observability.web.page.plots import FILE, Plot
from ordinaut_ext_observability.web.page.values import in_words

_MARKUP: Final[dict[str, str]] = {name: text.replace("\n", "") for name, text in FILE["markup"].items()}
_WIDTH, _HEIGHT, _TOP = 600, 140, 14  # of what is drawn, in its own unit, and the place above it
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3")
_BAR_HEIGHTS: Final = {"degraded": 11, "unhealthy": 16}  # others: 6
_MAX_MARKERS: Final = 20
_ROUND_SECONDS: Final = (30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800)

Markers = Iterable[tuple[float, str]]
"""Times in milliseconds since 1970, and what happened then."""


def ticks(top: float, unit: str) -> list[float]:
    """Two to five round numbers of the unit (`s`, `%`, or none), from 0 to `top` or above."""
    top = top if top > 1e-9 else 0.01 if unit == "%" else 1.0
    power = 10.0 ** floor(log10(top / 4))
    steps = _ROUND_SECONDS if unit == "s" and top > 60 else (power, 2 * power, 5 * power, 10 * power)
    step = next((step for step in steps if step * 4.000001 >= top), top / 4)
    return [step * number for number in range(ceil(top / step - 1e-6) + 1)]


def figure_html(plot: Plot, markers: Markers) -> str:
    """The whole figure: title, picture and last values, or the reason why there are none, and PromQL."""
    picture = f'<p class="absent">{escape(plot.absent)}</p>' if plot.absent else plot_svg(plot, markers)
    queries = "".join(_MARKUP["query"].format(escape(query)) for query in plot.queries)
    name, title = escape(plot.panel.name), escape(plot.panel.title)
    return _MARKUP["figure"].format(name=name, title=title, picture=picture, queries=queries)


def plot_svg(plot: Plot, markers: Markers) -> str:
    """The picture of a plot with its legend. Of markers, the newest of its time are drawn."""
    unit, path, span = plot.panel.unit, _MARKUP["path"].format, max(1, plot.end_ms - plot.start_ms)
    scale = ticks(max((value for _, values in plot.lines for value in values if value is not None), default=0), unit)
    drawn = path("grid", "", "".join(f"M0 {_short(_y(tick, scale))}H{_WIDTH}" for tick in scale), "")
    texts = [(0.0, _y(tick, scale) + _TOP - 3, "start", in_words(tick, unit)) for tick in scale[1:]]
    step = next((each * 1000 for each in _ROUND_SECONDS if each * 3000 >= span), span)
    for ago in range(0, span + 1, step):
        anchor = "end" if ago == 0 else "middle" if ago < span else "start"
        said = f"{in_words(ago / 1000, 's')} ago" if ago else "now"
        texts.append((100 - 100 * ago / span, _TOP + _HEIGHT + 15, anchor, said))
    xs = [_short(_WIDTH * (time - plot.start_ms) / span) for time in plot.times_ms]
    legend, described = "", []
    for number, (label, values) in enumerate(plot.lines):
        dashes = f' stroke-dasharray="{_DASHES[number]}"' if number else ""
        drawn += path(f"line line-{number}", dashes, _joined(xs, values, scale), "")
        low, high, last = _extremes(values, unit)
        described.append(f"{label}: lowest {low}, highest {high}, last {last}.")
        key = path(f"line line-{number}", dashes, "M0 4H28", "")
        legend += _MARKUP["legend"].format(line=key, legend=escape(label), last=last)
    for time, label in sorted(each for each in markers if plot.start_ms <= each[0] <= plot.end_ms)[-_MAX_MARKERS:]:
        place = f"M{_short(_WIDTH * (time - plot.start_ms) / span)} 0V{_HEIGHT}"
        drawn += path("marker", "", place, f"<title>{escape(label)}</title>")
    return _MARKUP["plot"].format(
        title=escape(plot.panel.title),
        description=escape(" ".join(described)),
        span=f"{plot.start_ms};{plot.end_ms}",
        xs=";".join(xs),
        values="|".join(";".join(in_words(value, unit) for value in values) for _, values in plot.lines),
        drawn=drawn,
        texts="".join(_MARKUP["text"].format(*text) for text in texts),
        legend=legend,
    )


def strip_svg(segments: Iterable[tuple[float, float, str]], start_ms: float, end_ms: float, label: str) -> str:
    """A bar of statuses, each from a time to a time in milliseconds since 1970; nothing where none is known."""
    bars, seconds, span = defaultdict[str, str](str), defaultdict[str, float](float), max(1, end_ms - start_ms)
    for start, end, status in segments:
        first, last = max(start, start_ms), min(end, end_ms)
        if first < last:
            x, width = _short(_WIDTH * (first - start_ms) / span), _short(max(_WIDTH * (last - first) / span, 1))
            bars[status] += f"M{x} {16 - _BAR_HEIGHTS.get(status, 6)}h{width}V16H{x}z"
            seconds[status] += (last - first) / 1000
    said = ", ".join(f"{status} for {in_words(each, 's')}" for status, each in seconds.items())
    drawn = "".join(_MARKUP["bar"].format(escape(status), path) for status, path in bars.items())
    return _MARKUP["strip"].format(title=escape(label), description=escape(said or "nothing is known"), bars=drawn)


def _extremes(values: Sequence[float | None], unit: str) -> tuple[str, str, str]:
    """The lowest, the highest and the last value."""
    known = [value for value in values if value is not None]
    low, high, last = min(known, default=None), max(known, default=None), values[-1] if values else None
    return in_words(low, unit), in_words(high, unit), in_words(last, unit)


def _joined(xs: Sequence[str], values: Sequence[float | None], scale: Sequence[float]) -> str:
    """A path through the known values, with gaps between; one alone is a dot, since ends of lines are round."""
    path, pen = "", "M"
    for x, value in zip(xs, values, strict=True):
        path += "" if value is None else f"{pen}{x} {_short(_y(value, scale))}" + "h0" * (pen == "M")
        pen = "M" if value is None else "L"
    return path


def _y(value: float, scale: Sequence[float]) -> float:
    return _HEIGHT - _HEIGHT * value / scale[-1]


def _short(number: float) -> str:
    return f"{round(number, 1):g}"
