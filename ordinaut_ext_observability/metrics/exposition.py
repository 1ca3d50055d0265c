"""Rendering families as Prometheus text 0.0.4 and OpenMetrics 1.0, in pieces short enough to share an event loop.

A block of series has one template: everything but the numbers is escaped and laid out once, when the block's series
are known. A scrape fills in the numbers. The text is byte for byte what `prometheus_client.generate_latest` prints for
the same state: the HELP and TYPE lines come from the installed `prometheus_client` itself, whose versions differ.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats/,
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Exemplar, Gauge, Histogram, HistogramChild

OPENMETRICS_END = "# EOF\n"

UNDERSCORES = "underscores"
DOTS = "dots"

_CLIENT_ESCAPES = "escaping" in inspect.signature(generate_text).parameters

ESCAPINGS = (UNDERSCORES, "allow-utf-8", "values", *([DOTS] if _CLIENT_ESCAPES else []))
"""Schemes for names with characters that were not always allowed.

Where `prometheus_client` has no such names, the first three print every name as it is. Dots write ours otherwise, too.
"""

format_value: Callable[[float], str] = floatToGoString

# From here on `prometheus_client` prints an exponent, as Go does; below it, Python's own notation is the same text.
_PLAIN_BELOW = 1e6

_ONLY_INTEGERS = {int}


class FixedCollector(Collector):
    """A collector of metrics that are already there."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def render_with_client(metric: Metric, *, openmetrics: bool, escaping: str = "") -> str:
    """The text that the installed `prometheus_client` prints for the metric, without OpenMetrics' end line."""
    collector: Any = FixedCollector(metric)
    options = {"escaping": escaping} if escaping and _CLIENT_ESCAPES else {}
    if not openmetrics:
        return generate_text(collector, **options).decode()
    text: str = generate_openmetrics(collector, **options).decode()  # type: ignore[no-untyped-call]
    return text.removesuffix(OPENMETRICS_END)


def render_gauges(
    name: str, documentation: str, series: Sequence[tuple[Mapping[str, str], float]], escaping: str = ""
) -> Iterator[str]:
    """The text of a gauge whose series have any labels, in pieces; the same in both formats."""
    escape_name = _dotted if escaping == DOTS else str
    yield f"# HELP {escape_name(name)} {documentation}\n# TYPE {escape_name(name)} gauge\n"
    for labels, value in series:
        escaped = {label: _escape(text) for label, text in labels.items()}
        yield _line(name, escaped, "%s", escape_name) % format_value(value)


class FamilyRenderer:
    """Renders one family, keeping the templates of its blocks. Renderings may overlap, in one thread or several."""

    def __init__(self, family: AnyFamily, escaping: str = "") -> None:
        self._family = family
        self._escape_name = _dotted if escaping == DOTS else str
        self._escaping = escaping
        self._headers: dict[bool, str] = {}
        self._template_type: Any = _HistogramTemplate if isinstance(family, Histogram) else _NumberTemplate
        self._layout: tuple[object, dict[int, Any]] = (family.blocks, {})
        """The blocks of the family, and their templates by the block's place."""

    def pieces(self, *, openmetrics: bool, escaping: str = "") -> Iterator[str]:
        """The family's text: the header lines first, then a piece per block."""
        if escaping == DOTS:  # the only scheme that touches our names; seldom asked for, so laid out anew each time
            yield from FamilyRenderer(self._family, escaping).pieces(openmetrics=openmetrics)
            return
        header = self._headers.get(openmetrics)
        if header is None:  # laid out when it is asked for: not while the host starts
            header = render_with_client(describe(self._family), openmetrics=openmetrics, escaping=self._escaping)
            self._headers[openmetrics] = header
        yield header
        blocks: Any = self._family.blocks
        laid_out, templates = self._layout
        if laid_out is not blocks:
            # Series were removed. A rendering that is under way keeps the blocks and the templates it began with.
            templates = {}
            self._layout = (blocks, templates)
        for index, block in enumerate(blocks):
            template = templates.get(index)
            if template is None:
                template = templates.setdefault(index, self._template_type(self._family, self._escape_name))
            yield template.render(block, openmetrics=openmetrics)


def describe(family: AnyFamily) -> Metric:
    """The family as a `prometheus_client` metric without samples."""
    name = family.name.removesuffix("_total") if isinstance(family, Counter) else family.name
    return Metric(name, family.documentation, family.kind)


def _labels(family: AnyFamily, values: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(family.label_names, map(_escape, values), strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _dotted(name: str) -> str:
    return name.replace("_", "__")


def _line(name: str, labels: dict[str, str], place: str, escape_name: Callable[[str], str]) -> str:
    """One line as a `%` template: the series laid out, a place for its number. Label values are escaped already."""
    name = escape_name(name)
    if not labels:
        return f"{name} {place}\n"
    pairs = ",".join(f'{escape_name(label)}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{pairs.replace('%', '%%')}}} {place}\n"


class _NumberTemplate:
    """Counters and gauges: one line per child."""

    def __init__(self, family: Counter | Gauge, escape_name: Callable[[str], str]) -> None:
        self._family = family
        self._escape_name = escape_name
        self._laid_out = (0, "", "")

    def render(self, block: list[Any], *, openmetrics: bool) -> str:
        """The block's lines; both formats are the same here."""
        del openmetrics
        known, template, integers_template = self._laid_out
        children = block[:]  # taken after the template, so never shorter: the list may grow meanwhile
        if len(children) > known:
            new = (_labels(self._family, child.label_values) for child in children[known:])
            template += "".join(_line(self._family.name, labels, "%s", self._escape_name) for labels in new)
            # Exact: a line break stands only at the end of a line, so this is never part of a label value.
            integers_template = template.replace(" %s\n", " %d.0\n")
            self._laid_out = (len(children), template, integers_template)
        values = [child.value for child in children]
        if set(map(type, values)) == _ONLY_INTEGERS:
            if max(values) < _PLAIN_BELOW:
                return integers_template % tuple(values)
        elif _all_plain(values):
            return template % tuple(map(float, values))
        return template % tuple(map(format_value, values))


class _HistogramTemplate:
    """Histograms: a line per bucket, then the count and the sum."""

    def __init__(self, family: Histogram, escape_name: Callable[[str], str]) -> None:
        self._family = family
        self._escape_name = escape_name
        self._bounds = [format_value(bound) for bound in (*family.bounds, float("inf"))]
        self._lines_per_child = len(self._bounds) + 2
        self._laid_out = (0, "")

    def render(self, block: list[HistogramChild], *, openmetrics: bool) -> str:
        """The block's lines, with exemplars where the format has them."""
        known, template = self._laid_out
        children = block[:]
        if len(children) > known:
            template += self._lay_out(children[known:])
            self._laid_out = (len(children), template)
        text = _fill_in(template, children)
        if openmetrics and any(child.exemplars for child in children):
            return self._with_exemplars(text, children)
        return text

    def _lay_out(self, children: Sequence[HistogramChild]) -> str:
        name, escape_name = self._family.name, self._escape_name
        lines = []
        for child in children:
            labels = _labels(self._family, child.label_values)
            # Laid out once for all buckets: an escaped value has no line break, so the first one is the bound's place.
            bucket = _line(f"{name}_bucket", {**labels, "le": "\n"}, "%d.0", escape_name)
            lines += [bucket.replace("\n", bound, 1) for bound in self._bounds]
            lines.append(_line(f"{name}_count", labels, "%d.0", escape_name))
            lines.append(_line(f"{name}_sum", labels, "%s", escape_name))
        return "".join(lines)

    def _with_exemplars(self, text: str, children: list[HistogramChild]) -> str:
        lines = text.split("\n")
        for position, child in enumerate(children):
            for offset, exemplar in enumerate(child.exemplars or ()):
                if exemplar is not None:
                    lines[position * self._lines_per_child + offset] += _exemplar_text(exemplar)
        return "\n".join(lines)


def _fill_in(template: str, children: list[HistogramChild]) -> str:
    values: list[float] = []
    sums = []
    largest = 0
    for child in children:
        cumulative = list(accumulate(child.counts))
        count = cumulative[-1]
        largest = max(largest, count)
        total = child.sum
        sums.append(total)
        values += cumulative
        values.append(count)
        values.append(total)
    if largest < _PLAIN_BELOW and _all_plain(sums):
        return template % tuple(values)
    # Exact: a line break stands only at the end of a line, so this is never part of a label value.
    return template.replace(" %d.0\n", " %s\n") % tuple(map(format_value, values))


def _exemplar_text(exemplar: Exemplar) -> str:
    value = format_value(exemplar.value)
    return f' # {{trace_id="{_escape(exemplar.trace_id)}"}} {value} {exemplar.timestamp_seconds}'


def _all_plain(values: Sequence[float]) -> bool:
    """Tell if Python's notation of every value is the exposition format's: finite, and without an exponent."""
    if not values:
        return True
    total = sum(values)
    # The sum is finite only if every value is: NaN and infinities carry through.
    return total - total == 0.0 and max(values) < _PLAIN_BELOW
