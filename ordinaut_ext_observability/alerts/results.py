"""The results of one rule's expression: the series that it records, or its alerts."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from functools import partial
from typing import Final, cast

from ordinaut_ext_observability.alerts.rules import AlertingRule, RecordingRule
from ordinaut_ext_observability.alerts.states import Instance
from ordinaut_ext_observability.alerts.templates import Query as TemplateQuery
from ordinaut_ext_observability.alerts.templates import Template
from ordinaut_ext_observability.history.series import NAME, Labels, SampleSource, labels_of
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.labels import drop_name
from ordinaut_ext_observability.promql.nodes import Node, selectors_of
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query, Sample, pieces
from ordinaut_ext_observability.scrub.text import scrub_text

_LIMITS: Final = Limits(samples=5_000_000, seconds=10.0)
"""Bounds on a rule's expression: 200 rules have an interval to share, and most take less than a millisecond."""
_TEMPLATE_LIMITS: Final = Limits(samples=100_000, seconds=0.5)
"""Bounds on a query within a template, which is evaluated without a pause."""
_STANDS_MS: Final = 5 * 60_000
"""Age up to which a series counts as being there: Prometheus's own default for a current value."""


class Results:
    """Evaluates expressions of rules over a source of samples, and expands their templates.

    Every generator yields where there may be a pause.
    """

    def __init__(self, source: SampleSource, external_url: str = "") -> None:
        """`external_url` stands for `$externalURL` in templates."""
        self._source = source
        self._external_url = external_url

    def vector(self, expression: Node, time_ms: int, limits: Limits = _LIMITS) -> Generator[None, None, list[Sample]]:
        """The samples that an expression gives at this time; a number is one without labels."""
        answer = yield from evaluate(Query(expression, time_ms, time_ms), self._source, limits)
        if isinstance(answer.value, float):
            return [Sample((), answer.value)]
        if answer.type != "vector":
            raise ExecutionError("the rule's result is neither a vector nor a scalar")
        return cast("list[Sample]", answer.value)

    def alerts_of(
        self, rule: AlertingRule, vector: list[Sample], time_ms: int
    ) -> Generator[None, None, dict[Labels, Instance]]:
        """The alerts that a result makes, with their labels and annotations written out."""
        if rule.no_data and not vector and not (yield from self._has_data(rule, time_ms)):
            vector = [Sample((("reason", "no_data"),), 0.0)]
        found: dict[Labels, Instance] = {}
        for labels, value in vector:
            expand = partial(self._expand, dict(labels), value, partial(self._query, time_ms))
            key = labels_of({**dict(drop_name(labels)), **expand(rule.labels), "alertname": rule.name})
            if key in found:
                raise ExecutionError("vector contains metrics with the same labelset after applying alert labels")
            annotations = expand(rule.annotations)
            found[key] = Instance(value, {name: scrub_text(text) for name, text in annotations.items()})
            yield
        return found

    def _expand(
        self, labels: Mapping[str, str], value: float, query: TemplateQuery, texts: Mapping[str, Template]
    ) -> dict[str, str]:
        return {name: text.expand(labels, value, {}, self._external_url, query) for name, text in texts.items()}

    def _query(self, time_ms: int, expression: str) -> Iterator[tuple[Mapping[str, str], float]]:
        working = self.vector(parse(expression), time_ms, _TEMPLATE_LIMITS)
        try:
            while True:
                next(working)
        except StopIteration as done:
            yield from ((dict(labels), value) for labels, value in done.value)

    def _has_data(self, rule: AlertingRule, time_ms: int) -> Generator[None, None, bool]:
        start_ms = time_ms - rule.lookback_ms - _STANDS_MS
        for selector in selectors_of(rule.expression):
            for series in self._source.select(selector.matchers, start_ms, time_ms):
                if series is not None:
                    return True
                yield
        return False


def recorded(rule: RecordingRule, vector: list[Sample], limit: int) -> Generator[None, None, list[Sample]]:
    """The series that a result makes."""
    if 0 < limit < len(vector):
        raise ExecutionError(f"exceeded limit of {limit} with {len(vector)} series")
    results: list[Sample] = []
    for piece in pieces(vector):
        results += [
            Sample(labels_of({**dict(labels), NAME: rule.name, **rule.labels}), value) for labels, value in piece
        ]
        yield
    if len({labels for labels, _ in results}) < len(results):
        raise ExecutionError("vector contains metrics with the same labelset after applying rule labels")
    return results
