"""Groups of rules evaluated over the history, piece by piece."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from ordinaut_ext_observability.alerts.rules import AlertingRule, RecordingRule, Rule, RuleGroup, key_of, show_duration
from ordinaut_ext_observability.alerts.states import AlertState, Instance, RuleState
from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.history.history import RECORDED_RETENTION_MS, History
from ordinaut_ext_observability.history.series import Labels, labels_of
from ordinaut_ext_observability.settings.parts import HistorySettings

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.query import Sample

MAX_ALERTS: Final = 5_000
"""Alerts of all rules. A rule that would have more fails and has none: nobody could look at them."""

Pieces = Generator[None, None, None]


class Readiness(NamedTuple):
    """Weight of what the history lacks."""

    settled: bool = True
    """False soon after the start: nothing begins to fire, and nothing ends."""
    patient: bool = True
    """False: alerts that were restored do not end, either, before the history goes back as far as their rule looks."""


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
        self._interval_ms = round(kept.interval_seconds * 1000)
        self._retention_ms = round(kept.retention_seconds * 1000)
        self._external_url = external_url
        self._groups: dict[str, tuple[RuleGroup, dict[str, list[Rule]]]] = {}
        """Each group, and its rules by the table of the history that has what they record."""
        self._names: dict[str, set[str]] = {}
        """Names of the series in each table."""
        self._due_ms: dict[str, int] = {}
        self.states: dict[str, RuleState] = {}
        """State of each rule, by `key_of`."""
        self.conditions = RuleGroup("conditions", "python", (), self._interval_ms)
        """Rules that are functions: `take_conditions` says how they stand."""
        self.readiness = Readiness()
        self.refused = 0
        """Results of rules for which the history had no room."""
        self.transitions: list[AlertState] = []
        """Alerts as they were when they began to fire or were resolved; whoever writes the states empties the list."""

    def load(self, groups: Iterable[RuleGroup], now_ms: int) -> None:
        """Put these groups in place of those before. A rule that stays the same keeps its alerts."""
        before, self._names, self._groups = self._names, {}, {}
        for each in groups:
            group = replace(each, interval_ms=each.interval_ms or self._interval_ms)
            place = f"{group.file};{group.name}"
            tables = {f"{place};{number}": rules for number, rules in enumerate(_parts(group))}
            self._groups[place] = group, tables
            for table, rules in tables.items():
                if names := {rule.name for rule in rules if isinstance(rule, RecordingRule)}:
                    self._names[table] = names
        for ended in before.keys() - self._names.keys():
            list(self._history.record(ended, now_ms, ()))
        self._due_ms = {place: due for place, due in self._due_ms.items() if place in self._groups}
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
        yield from (group for group, _ in self._groups.values())
        if self.conditions.rules:
            yield self.conditions

    def state_of(self, group: RuleGroup, rule: Rule) -> RuleState:
        """The state of a rule."""
        return self.states[key_of(group, rule)]

    def alerting_states(self) -> Iterator[tuple[str, RuleState]]:
        """The states of alerting rules with their `key_of`."""
        return ((key, self.states[key]) for key, rule in self._keyed() if isinstance(rule, AlertingRule))

    def _keyed(self) -> Iterator[tuple[str, Rule]]:
        return ((key_of(group, rule), rule) for group in self.groups() for rule in group.rules)

    def evaluate_due(self, now_ms: int, *, alerts: bool) -> Pieces:
        """Evaluate the groups that are due, of which alerting rules only where `alerts`. Yields where it may pause."""
        for place, (group, tables) in list(self._groups.items()):
            # Ticks come a little early or late: the nearest one is meant.
            if now_ms < self._due_ms.get(place, now_ms) - self._interval_ms // 2:
                continue
            for table, rules in tables.items():
                results: list[Sample] = []
                for rule in rules:
                    if isinstance(rule, RecordingRule) or alerts:
                        yield from self._evaluate(group, rule, now_ms, results)
                if table in self._names:
                    self.refused += yield from self._history.record(table, now_ms, results)
            self._due_ms[place] = now_ms + group.interval_ms

    def _evaluate(self, group: RuleGroup, rule: Rule, now_ms: int, results: list[Sample]) -> Pieces:
        from ordinaut_ext_observability.alerts.results import Results, recorded  # LoadedRules imported it, in a thread

        state, started, at_ms = self.state_of(group, rule), monotonic_seconds(), now_ms - group.query_offset_ms
        try:
            evaluator = Results(self._history, self._external_url)
            vector = yield from evaluator.vector(rule.expression, at_ms)
            if isinstance(rule, RecordingRule):
                results += yield from recorded(rule, vector, group.limit)
            else:
                found = yield from evaluator.alerts_of(rule, vector, at_ms)
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
        limit = group.limit if group.limit > 0 else MAX_ALERTS
        if found.keys() - state.alerts.keys():
            others = sum(len(each.alerts) for each in self.states.values() if each is not state)
            limit = min(limit, max(1, MAX_ALERTS - others))
        settled, complete = self.readiness.settled, self.readiness.patient or not self._is_incomplete(rule, now_ms)
        self.transitions += state.update(rule, now_ms, found, limit=limit, settled=settled, complete=complete)

    def _is_incomplete(self, rule: Rule, now_ms: int) -> bool:
        """Tell whether a rule looks back further than samples go, so that its result may lack something."""
        since = self._history.since_ms(rule.names_read)
        return rule.lookback_ms > 0 and (since is None or since > now_ms - rule.lookback_ms)

    def notes_on(self, rule: Rule, now_ms: int) -> list[str]:
        """Texts about what a rule's result may lack: `needs 6h, kept 1h`, `incomplete`."""
        notes = lookback_notes(rule, set().union(*self._names.values()), self._retention_ms)
        return [*notes, "incomplete: not enough samples yet"] if self._is_incomplete(rule, now_ms) else notes


def lookback_notes(rule: Rule, recorded: Container[str | None], retention_ms: int) -> list[str]:
    """The text `needs 6h, kept 1h` where a rule looks back further than its samples are kept, recorded ones longer."""
    kept_ms = RECORDED_RETENTION_MS if all(name in recorded for name in rule.names_read) else retention_ms
    needed_ms = rule.lookback_ms
    return [f"needs {show_duration(needed_ms)}, kept {show_duration(kept_ms)}"] if needed_ms > kept_ms else []


def _parts(group: RuleGroup) -> list[list[Rule]]:
    """The rules of a group in parts that do not read what they record: it can be recorded at once, after them."""
    parts: list[list[Rule]] = [[]]
    names: set[str | None] = set()
    for rule in group.rules:
        if names and (None in rule.names_read or names & rule.names_read):
            parts.append([])
            names.clear()
        parts[-1].append(rule)
        names.update([rule.name] if isinstance(rule, RecordingRule) else [])
    return parts
