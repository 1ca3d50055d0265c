"""Groups of rules evaluated over the history, piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Final

from ordinaut_ext_observability.alerts.rules import AlertingRule, RecordingRule, Rule, RuleGroup, TemplatedText
from ordinaut_ext_observability.alerts.rules import key_of, lookback_ms
from ordinaut_ext_observability.alerts.states import Change, Instance, RuleState
from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.history.history import RECORDED_RETENTION_MS, History
from ordinaut_ext_observability.history.series import NAME, Labels, labels_of
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.labels import drop_name
from ordinaut_ext_observability.promql.nodes import VectorSelector
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query, Sample
from ordinaut_ext_observability.promql.reach import selectors_of

_LIMITS: Final = Limits(samples=5_000_000, seconds=10.0)
"""Bounds on a rule's expression: 200 rules have an interval to share, and most take less than a millisecond."""
_TEMPLATE_LIMITS: Final = Limits(samples=100_000, seconds=0.5)
"""Bounds on a query within a template, which is evaluated without a pause."""
_LOOKED_BACK_MS: Final = 5 * 60_000
"""Age up to which a series counts as being there: Prometheus's own default for a current value."""
MAX_ALERTS: Final = 1_000
"""Active alerts of a rule whose group has no limit: what nobody can look at need not fill the store."""

Pieces = Generator[None, None, None]


class Engine:
    """Loaded groups and the states of their rules.

    ::

        engine = Engine(history)
        engine.load(read_rule_file("rules.yml"), now_ms)
        for _ in engine.evaluate_due(now_ms, alerts=True): ...
    """

    def __init__(self, history: History, *, external_url: str = "") -> None:
        """Everything is called on the thread that writes the history."""
        self._history = history
        self._external_url = external_url
        self.groups: tuple[RuleGroup, ...] = ()
        self.states: dict[str, RuleState] = {}
        """How each rule stands, by `key_of`."""
        self.changes: list[Change] = []
        """What began to fire or was resolved since this was last emptied."""
        self._due_ms: dict[tuple[str, str], int] = {}
        self._tables: dict[str, frozenset[str]] = {}
        """What is recorded under each name of the history's: the names of series."""

    def load(self, groups: Iterable[RuleGroup], now_ms: int) -> None:
        """Put these groups in place of those before; a rule that stays the same keeps its alerts."""
        self.groups = tuple(groups)
        keys = [key_of(group, rule) for group in self.groups for rule in group.rules]
        self.states = {key: self.states.get(key) or RuleState() for key in keys}
        self._due_ms = {place: due for group in self.groups if (due := self._due_ms.get(place := _place(group)))}
        tables = {table: names for group in self.groups for table, names in _segments(group)}
        for ended in self._tables.keys() - tables:
            self._history.record(ended, now_ms, ())
        self._tables = tables

    def shift(self, by_ms: int) -> None:
        """Move all times, as when the clock was set."""
        self._due_ms = {place: due + by_ms for place, due in self._due_ms.items()}
        for state in self.states.values():
            state.shift(by_ms)

    def evaluate_due(self, now_ms: int, *, alerts: bool, settled: bool = True) -> Pieces:
        """Evaluate the groups that are due, of which alerting rules only where `alerts`. Yields where it may pause."""
        tick = self._history.interval_ms
        for group in self.groups:
            interval, place = group.interval_ms or tick, _place(group)
            # Ticks come a little early or late: the nearest one is meant.
            if now_ms >= self._due_ms.get(place, now_ms) - tick // 2:
                self._due_ms[place] = now_ms + interval
                yield from self._evaluate_group(group, now_ms, alerts=alerts, settled=settled)

    def _evaluate_group(self, group: RuleGroup, now_ms: int, *, alerts: bool, settled: bool) -> Pieces:
        for table, rules in _segmented(group):
            results: list[Sample] = []
            for rule in rules:
                if isinstance(rule, AlertingRule) and not alerts:
                    continue
                state, started = self.states[key_of(group, rule)], monotonic_seconds()
                try:
                    if isinstance(rule, RecordingRule):
                        results += yield from self._record(group, rule, now_ms)
                    else:
                        found = yield from self._find(group, rule, now_ms)
                        complete = not self.lacks(rule, now_ms)
                        self.changes += state.update(
                            rule, now_ms, found, limit=group.limit or MAX_ALERTS, settled=settled, complete=complete
                        )
                    state.health, state.error = "ok", ""
                except ObservabilityError as error:
                    state.health, state.error = "err", str(error)
                state.seconds, state.evaluated_at_ms = monotonic_seconds() - started, now_ms
                yield
            if table:
                self._history.record(table, now_ms, results)
                yield
