"""Groups of rules evaluated over the history, piece by piece."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from ordinaut_ext_observability.alerts.results import Results, recorded
from ordinaut_ext_observability.alerts.rules import AlertingRule, RecordingRule, Rule, RuleGroup, key_of, show_duration
from ordinaut_ext_observability.alerts.states import AlertState, Instance, RuleState
from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.history.history import RECORDED_RETENTION_MS, History
from ordinaut_ext_observability.history.series import Labels, labels_of
from ordinaut_ext_observability.promql.query import Sample
from ordinaut_ext_observability.settings.parts import HistorySettings

MAX_ALERTS: Final = 5_000
"""Alerts of all rules. A rule that would have more fails and has none: nobody could look at them."""

Pieces = Generator[None, None, None]


class Readiness(NamedTuple):
    """Weight of what the history lacks."""

    settled: bool = True
    """False soon after the start: nothing begins to fire, and nothing ends."""
    patient: bool = True
    """False: alerts that were restored do not end, either, before the history goes back as far as their rule looks."""


class _Segment(NamedTuple):
    """Rules of a group that do not read what others among them record: it can be recorded at once, after them."""

    group: RuleGroup
    table: str
    """The name under which the history keeps the results; empty where nothing is recorded."""
    rules: tuple[Rule, ...]
    names: frozenset[str]
    """Names of the series that are recorded."""


class Engine:
    """Loaded groups and the states of their rules. Everything is called on the thread that writes the history.

    ::

        engine = Engine(history, HistorySettings())
        engine.load(read_rule_file("rules.yml"), now_ms)
        for _ in engine.evaluate_due(now_ms, alerts=True): ...
    """

    def __init__(self, history: History, kept: HistorySettings, external_url: str = "") -> None:
        """`external_url` stands for `$externalURL` in templates."""
        self._history = history
        self.interval_ms, self._retention_ms = round(kept.interval_seconds * 1000), round(kept.retention_seconds * 1000)
        self._results = Results(history, external_url)
        self._segments: dict[str, list[_Segment]] = {}
        self._recorded: set[str] = set()
        """Names of all series that rules record."""
        self._due_ms: dict[str, int] = {}
        self.states: dict[str, RuleState] = {}
        """State of each rule, by `key_of`."""
        self.conditions = RuleGroup("conditions", "python", ())
        """Rules that are functions: `take_conditions` says how they stand."""
        self.readiness = Readiness()
        self._room = MAX_ALERTS
        self.refused = 0
        """Results of rules for which the history had no room."""
        self.transitions: list[AlertState] = []
        """Alerts as they were when they began to fire or were resolved; whoever writes the states empties the list."""

    def load(self, groups: Iterable[RuleGroup], now_ms: int) -> None:
        """Put these groups in place of those before. A rule that stays the same keeps its alerts."""
        before = {part.table for segments in self._segments.values() for part in segments if part.table}
        self._segments = {_place(group): list(_segments(group)) for group in groups}
        parts = [part for segments in self._segments.values() for part in segments]
        self._recorded = {name for part in parts for name in part.names}
        for ended in before.difference(part.table for part in parts):
            self._history.record(ended, now_ms, ())
        self._due_ms = {place: due for place, due in self._due_ms.items() if place in self._segments}
        self.states = {key: self.states.get(key) or RuleState() for key, _ in self._keyed()}

    def load_conditions(self, rules: Iterable[AlertingRule]) -> None:
        """Know these rules that are functions: others ask them."""
        self.conditions = replace(self.conditions, rules=tuple(rules))
        for rule in self.conditions.rules:
            self.states.setdefault(key_of(self.conditions, rule), RuleState())

    def shift(self, by_ms: int) -> None:
        """Move all times, as when the clock was set."""
        self._due_ms = {place: due + by_ms for place, due in self._due_ms.items()}
        for state in self.states.values():
            state.shift(by_ms)

    def adopt(self, states: Mapping[str, RuleState], shift_ms: int = 0) -> None:
        """Take these states in place of what is known of the same rules, their times moved by `shift_ms`."""
        for key in states.keys() & self.states.keys():
            self.states[key] = states[key]
            self.states[key].shift(shift_ms)

    def restore(self) -> None:
        """Take all alerts for ones that another process left."""
        for state in self.states.values():
            for alert in state.alerts.values():
                alert.restored = True

    def groups(self) -> Iterator[RuleGroup]:
        """All groups with rules."""
        yield from (segments[0].group for segments in self._segments.values())
        if self.conditions.rules:
            yield self.conditions

    def state_of(self, group: RuleGroup, rule: Rule) -> RuleState:
        """The state of a rule."""
        return self.states[key_of(group, rule)]

    def alerting_states(self) -> dict[str, RuleState]:
        """The states of alerting rules, by `key_of`."""
        return {key: self.states[key] for key, rule in self._keyed() if isinstance(rule, AlertingRule)}

    def _keyed(self) -> Iterator[tuple[str, Rule]]:
        return ((key_of(group, rule), rule) for group in self.groups() for rule in group.rules)

    def evaluate_due(self, now_ms: int, *, alerts: bool) -> Pieces:
        """Evaluate the groups that are due, of which alerting rules only where `alerts`. Yields where it may pause."""
        self._room = MAX_ALERTS - sum(len(state.alerts) for state in self.states.values())
        for place, segments in list(self._segments.items()):
            # Ticks come a little early or late: the nearest one is meant.
            if now_ms < self._due_ms.get(place, now_ms) - self.interval_ms // 2:
                continue
            for segment in segments:
                self._due_ms[place] = now_ms + (segment.group.interval_ms or self.interval_ms)
                results: list[Sample] = []
                for rule in segment.rules:
                    if isinstance(rule, RecordingRule) or alerts:
                        yield from self._evaluate(segment.group, rule, now_ms, results)
                if segment.table:
                    self.refused += self._history.record(segment.table, now_ms, results)
                    yield

    def _evaluate(self, group: RuleGroup, rule: Rule, now_ms: int, results: list[Sample]) -> Pieces:
        state, started, at_ms = self.state_of(group, rule), monotonic_seconds(), now_ms - group.query_offset_ms
        try:
            vector = yield from self._results.vector(rule.expression, at_ms)
            if isinstance(rule, RecordingRule):
                results += yield from recorded(rule, vector, group.limit)
            else:
                found = yield from self._results.alerts_of(rule, vector, at_ms)
                self._update(group, rule, state, now_ms, found)
            state.health, state.error = "ok", ""
        except ObservabilityError as error:
            state.health, state.error = "err", str(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one rule is none of the others
            state.health, state.error = "err", f"the extension failed: {type(error).__name__}"
        state.seconds, state.evaluated_at_ms = monotonic_seconds() - started, now_ms
        yield

    def take_conditions(self, found: Mapping[tuple[str, str], tuple[bool | None, str]], now_ms: int) -> None:
        """Take how each condition stands, by name and severity: True where it holds, None where that is not known.

        With it comes what is to be said of it.
        """
        for rule in self.conditions.rules:
            severity = str(rule.labels["severity"])
            holds, message = found.get((rule.name, severity), (None, "it was not asked"))
            state = self.state_of(self.conditions, rule)
            state.health, state.error = ("ok", "") if holds is not None else ("err", message)
            state.evaluated_at_ms = now_ms
            if holds is not None and isinstance(rule, AlertingRule):
                labels = labels_of({"alertname": rule.name, "severity": severity})
                instances = {labels: Instance(1.0, {"summary": message})} if holds else {}
                self._update(self.conditions, rule, state, now_ms, instances)

    def _update(
        self, group: RuleGroup, rule: AlertingRule, state: RuleState, now_ms: int, found: Mapping[Labels, Instance]
    ) -> None:
        """Take the alerts that a rule has now: here every transition is made."""
        room = max(1, self._room + len(state.alerts))
        limit = min(group.limit, room) if group.limit > 0 else room
        settled, complete = self.readiness.settled, self.readiness.patient or not self._is_incomplete(rule, now_ms)
        self.transitions += state.update(rule, now_ms, found, limit=limit, settled=settled, complete=complete)
        self._room = room - len(state.alerts)

    def _is_incomplete(self, rule: Rule, now_ms: int) -> bool:
        """Tell whether a rule looks back further than samples go, so that its result may lack something."""
        since = self._history.since_ms(rule.names_read)
        return rule.lookback_ms > 0 and (since is None or since > now_ms - rule.lookback_ms)

    def notes_on(self, rule: Rule, now_ms: int) -> list[str]:
        """Texts about what a rule's result may lack: `needs 6h, kept 1h`, `incomplete`."""
        notes = lookback_notes(rule, self._recorded, self._retention_ms)
        return [*notes, "incomplete: not enough samples yet"] if self._is_incomplete(rule, now_ms) else notes


def lookback_notes(rule: Rule, recorded: Container[str | None], retention_ms: int) -> list[str]:
    """The text `needs 6h, kept 1h` where a rule looks back further than its samples are kept, recorded ones longer."""
    kept_ms = RECORDED_RETENTION_MS if all(name in recorded for name in rule.names_read) else retention_ms
    needed_ms = rule.lookback_ms
    return [f"needs {show_duration(needed_ms)}, kept {show_duration(kept_ms)}"] if needed_ms > kept_ms else []


def _segments(group: RuleGroup) -> Iterator[_Segment]:
    rules: list[Rule] = []
    names: set[str] = set()
    number = 0
    for rule in group.rules:
        if any(name is None or name in names for name in rule.names_read) and names:
            yield _Segment(group, f"{_place(group)};{number}", tuple(rules), frozenset(names))
            rules, names, number = [], set(), number + 1
        rules.append(rule)
        names.update([rule.name] if isinstance(rule, RecordingRule) else [])
    yield _Segment(group, f"{_place(group)};{number}" if names else "", tuple(rules), frozenset(names))


def _place(group: RuleGroup) -> str:
    return f"{group.file};{group.name}"
