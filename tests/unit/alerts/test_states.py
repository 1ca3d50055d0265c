"""The states of one rule's alerts. Whether promtool agrees at every tick is another test."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinaut_ext_observability.alerts import storage
from ordinaut_ext_observability.alerts.rules import AlertingRule
from ordinaut_ext_observability.alerts.states import RESOLVED_RETENTION_MS, AlertState, Instance, RuleState, samples_of
from ordinaut_ext_observability.alerts.storage import decode, encode
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.nodes import Number

TICK = 15_000
START = 1_700_000_000_000
LABELS = [(("alertname", "A"), ("job", job)) for job in "xyz"]

rules = st.builds(
    lambda hold, keep: AlertingRule("A", "1", Number(1.0), for_ms=hold * TICK, keep_firing_for_ms=keep * TICK),
    st.integers(0, 4),
    st.integers(0, 4),
)
histories = st.lists(st.sets(st.sampled_from(LABELS)), max_size=40)
"""At each tick, the alerts whose condition holds."""


def update(state: RuleState, rule: AlertingRule, tick: int, holds: set, **options) -> list[tuple[str, bool]]:
    found = {labels: Instance(float(tick), {"summary": str(tick)}) for labels in sorted(holds)}
    changes = state.update(rule, START + tick * TICK, found, **options)
    return [(change.label("job"), change.state == "firing") for change in changes]


@given(rules, histories)
def test_an_alert_fires_once_its_condition_held_for_long_enough_and_changes_are_told_once(rule, history) -> None:
    state = RuleState()
    held = dict.fromkeys(LABELS, 0)
    firing: set[str] = set()
    for tick, holds in enumerate(history):
        for job, fires in update(state, rule, tick, holds):
            assert fires != (job in firing)
            firing ^= {job}
        for labels in LABELS:
            held[labels] = held[labels] + 1 if labels in holds else 0
            job = dict(labels)["job"]
            assert job in firing or (held[labels] - 1) * TICK < rule.for_ms
        assert {dict(alert.labels)["job"] for alert in state.active if alert.state == "firing"} == firing
        assert all(alert.value == tick for labels, alert in state.alerts.items() if labels in holds)


@given(rules, histories, st.integers(-(10**9), 10**9), st.integers(0, 40))
def test_states_that_were_stored_or_moved_with_the_clock_go_on_as_if_nothing_had_been(rule, history, by_ms, at) -> None:
    plain, moved = RuleState(), RuleState()
    offset = 0
    for tick, holds in enumerate(history):
        if tick == at:
            moved.shift(by_ms)
            offset = by_ms
            written_ms, states = decode(b"".join(encode([("key", moved)], START)))
            assert written_ms == START
            moved = states["key"]
        found = {labels: Instance(float("inf"), {}) for labels in sorted(holds)}
        expected = plain.update(rule, START + tick * TICK, found)
        assert len(moved.update(rule, START + offset + tick * TICK, found)) == len(expected)
    moved.shift(-offset)
    assert list(moved.alerts.values()) == list(plain.alerts.values())


def test_states_are_stored_in_a_piece_for_each_rule_and_late_ones_of_a_long_document_without_annotations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "MAX_BYTES", 600)
    states = {key: RuleState() for key in ("first", "second")}
    for state in states.values():
        state.alerts[LABELS[0]] = AlertState(LABELS[0], 1.0, {"summary": "down"}, START)
    big = AlertState(LABELS[0], 1.0, {"summary": "d" * 600}, START)
    assert "ddd" not in b"".join(encode([("one", RuleState(alerts={LABELS[0]: big}))], START)).decode()
    pieces = list(encode(states.items(), START))
    assert len(pieces) == 2 + len(states)
    _, read = decode(b"".join(pieces))
    assert [state.alerts[LABELS[0]].annotations for state in read.values()] == [{"summary": "down"}, {}]


@given(rules, histories)
def test_until_all_is_settled_nothing_begins_to_fire_and_nothing_ends(rule, history) -> None:
    state = RuleState()
    seen: set = set()
    for tick, holds in enumerate(history):
        assert update(state, rule, tick, holds, settled=False) == []
        seen |= holds
        assert set(state.alerts) == seen and all(alert.state == "pending" for alert in state.active)


def test_what_was_restored_ends_only_once_the_history_is_complete() -> None:
    rule, state = AlertingRule("A", "1", Number(1.0)), RuleState()
    update(state, rule, 0, {LABELS[0]})
    _, states = decode(b"".join(encode([("key", state)], START)))
    state = states["key"]
    assert update(state, rule, 1, set(), complete=False) == []
    assert update(state, rule, 2, set(), complete=True) == [("x", False)]


def test_a_resolved_alert_is_remembered_for_a_quarter_of_an_hour() -> None:
    rule, state = AlertingRule("A", "1", Number(1.0)), RuleState()
    update(state, rule, 0, {LABELS[0]})
    update(state, rule, 1, set())
    last = 1 + RESOLVED_RETENTION_MS // TICK
    update(state, rule, last, set())
    [alert] = state.alerts.values()
    assert alert.state == "resolved" and alert.resolved_at_ms == START + TICK and state.active == []
    update(state, rule, last + 1, set())
    assert state.alerts == {}


def test_more_alerts_than_the_limit_are_an_error_and_none_is_left() -> None:
    rule, state = AlertingRule("A", "1", Number(1.0)), RuleState()
    update(state, rule, 0, set(LABELS[:2]), limit=2)
    with pytest.raises(ExecutionError, match="exceeded limit of 2 with 3 alerts"):
        update(state, rule, 1, set(LABELS), limit=2)
    assert state.alerts == {}
    assert update(state, rule, 2, set(LABELS[:2]), limit=2) == [("x", True), ("y", True)]


def test_series_of_an_alert_say_its_state_and_since_when() -> None:
    rule, state = AlertingRule("A", "1", Number(1.0)), RuleState()
    update(state, rule, 0, {LABELS[0]})
    [alert] = state.active
    assert list(samples_of(alert)) == [
        ((("__name__", "ALERTS"), ("alertname", "A"), ("alertstate", "firing"), ("job", "x")), 1.0),
        ((("__name__", "ALERTS_FOR_STATE"), ("alertname", "A"), ("job", "x")), START / 1000),
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"[1, 0, {}]", b'[2, 0, {"a": 1}]'])
def test_a_document_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        decode(content)
