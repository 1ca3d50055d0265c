"""Who is told of what, when and why: the notifier, on a clock moved by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import DeliveryError
from ordinaut_ext_observability.alerts.notifications.notifier import Notifier
from ordinaut_ext_observability.alerts.notifications.silences import Mutes, Silence
from ordinaut_ext_observability.alerts.routing.routes import Integration, Receiver, Route, Routing
from ordinaut_ext_observability.alerts.routing.schema import InhibitRule
from ordinaut_ext_observability.promql.matchers import LabelMatcher

T0 = 1_700_000_000_000
WAIT, INTERVAL, REPEAT = 10_000, 60_000, 600_000
ROUTE = Route("team", ("alertname",), WAIT, INTERVAL, (REPEAT,))


def routing(route: Route = ROUTE, *, send_resolved: bool = True, **parts: Any) -> Routing:
    hook = Integration("webhook", "team/webhook[0]", send_resolved)
    return Routing(route, {"team": Receiver("team", (hook,))}, **parts)


class Told:
    """A notifier whose deliveries arrive at once, unless they are to fail."""

    def __init__(self, route: Routing | None = None, *, strict: bool = False) -> None:
        self.now = T0
        self.routing = route or routing()
        self.notifier = Notifier(self.routing, T0, strict=strict)
        self.sent: list[tuple[int, str, list[str], list[str]]] = []
        self.error: DeliveryError | None = None
        self.kept: dict[str, dict[str, bytes]] = {}

    def fires(self, name: str = "Down", **labels: str) -> NotifiedAlert:
        alert = NotifiedAlert({"alertname": name, **labels}, {}, self.now, updated_at_ms=self.now)
        self.notifier.take([alert], self.now)
        return alert

    def resolves(self, alert: NotifiedAlert) -> None:
        self.notifier.take([replace(alert, ends_at_ms=self.now, updated_at_ms=self.now)], self.now)

    def silence(self, name: str, seconds: int) -> None:
        matcher = LabelMatcher("alertname", "=", name)
        silence = Silence("1", (matcher,), self.now, self.now + seconds * 1000, self.now, "me", "why")
        self.notifier.mutes.silences["1"] = silence

    def run(self, seconds: int) -> list[tuple[int, str, list[str], list[str]]]:
        """What was sent in the seconds that follow: when, why, what fires and what is resolved."""
        before = len(self.sent)
        for _ in range(seconds):
            self.now += 1000
            self.notifier.flush_due(self.now)
            for delivery in self.notifier.ledger.due(self.now):
                if self.error is not None:
                    self.notifier.note_failed(delivery, self.error, self.now)
                    continue
                names = [
                    sorted(alert.labels.get("node") or alert.labels["alertname"] for alert in alerts)
                    for alerts in (delivery.firing, delivery.resolved)
                ]
                self.sent.append(((self.now - T0) // 1000, delivery.reason, *names))
                self.notifier.note_delivered(delivery, self.now)
            for record in self.notifier.ledger.take_changed():
                table = self.kept.setdefault(record.table, {})
                table.pop(record.key, None)
                if record.content is not None:
                    table[record.key] = record.content
        return self.sent[before:]

    def restart(self) -> None:
        self.notifier = Notifier(self.routing, self.now)
        assert self.notifier.restore(self.kept, self.now) == 0


@pytest.fixture
def told() -> Told:
    return Told()


def test_group_is_told_after_its_wait_and_again_when_it_changes_and_when_it_is_over(told: Told) -> None:
    first, second = told.fires(node="a"), told.fires(node="b")
    assert told.run(30) == [(10, "first", ["a", "b"], [])]
    told.resolves(first)
    told.fires(node="c")
    assert told.run(60) == [(70, "new_firing", ["b", "c"], ["a"])]
    told.resolves(second)
    assert told.run(60) == [(130, "some_resolved", ["c"], ["b"])]


def test_what_still_fires_is_told_again_ever_less_often(told: Told) -> None:
    slower = Told(routing(replace(ROUTE, repeat_intervals_ms=(100_000, 200_000, 400_000))))
    slower.fires()
    assert [when for when, *_ in slower.run(1500)] == [10, 130, 370, 790, 1210]


def test_alert_that_is_over_before_anybody_was_told_is_nobodys_concern(told: Told) -> None:
    alert = told.fires()
    told.run(5)
    told.resolves(alert)
    assert told.run(200) == []


def test_silence_holds_back_pages_but_not_the_resolve_of_what_was_paged(told: Told) -> None:
    alert = told.fires()
    told.run(15)
    told.silence("Down", 3600)
    told.run(60)
    told.resolves(alert)
    assert told.run(120) == [(130, "resolved", [], ["Down"])]


def test_strict_mode_holds_back_the_resolve_too() -> None:
    told = Told(strict=True)
    alert = told.fires()
    told.run(15)
    told.silence("Down", 3600)
    told.resolves(alert)
    assert told.run(200) == []


def test_end_of_a_silence_tells_what_still_fires(told: Told) -> None:
    told.fires()
    told.run(15)
    told.silence("Down", 100)
    assert told.run(200) == [(130, "silence_ended", ["Down"], [])]


def test_source_inhibits_its_targets_and_not_itself() -> None:
    rule = InhibitRule(source_match={"severity": "critical"}, target_match={"severity": "warning"}, equal=["node"])
    told = Told(routing(inhibit_rules=(rule,)))
    source = told.fires("Down", severity="critical", node="a")
    told.fires("Slow", severity="warning", node="a")
    told.fires("Slow", severity="warning", node="b")
    assert told.run(30) == [(10, "first", ["a"], []), (10, "first", ["b"], [])]
    told.resolves(source)
    assert told.run(60) == [(70, "resolved", [], ["a"]), (70, "new_firing", ["a", "b"], [])]


def test_failed_delivery_is_tried_again_with_what_is_true_by_then(told: Told) -> None:
    told.fires(node="a")
    told.error = DeliveryError("503")
    assert told.run(70) == []
    told.fires(node="b")
    told.run(61)
    told.error = None
    assert [entry[1:] for entry in told.run(60)] == [("first", ["a", "b"], [])]
    outcomes = [orjson.loads(entry)["outcome"] for entry in told.kept["journal"].values()]
    assert outcomes == ["sent"]


def test_receiver_names_the_time_to_wait(told: Told) -> None:
    told.fires()
    told.error = DeliveryError("429", retry_after_seconds=30)
    told.run(12)
    told.error = None
    assert told.run(40) == [(40, "first", ["Down"], [])]


def test_what_fired_and_ended_while_nothing_arrived_is_dropped_and_said(told: Told) -> None:
    alert = told.fires()
    told.error = DeliveryError("503")
    told.run(20)
    told.resolves(alert)
    told.run(60)
    told.error = None
    assert told.run(60) == []
    (entry,) = map(orjson.loads, told.kept["journal"].values())
    assert (entry["outcome"], entry["error"]) == ("dropped", "503")


def test_restart_neither_tells_again_nor_forgets_the_resolve(told: Told) -> None:
    alert = told.fires()
    told.run(15)
    told.restart()
    told.notifier.take([alert], told.now)
    assert told.run(120) == []
    told.restart()
    told.notifier.resolve_vanished(told.now)
    assert told.run(120) == [(136, "resolved", [], ["Down"])]


def test_delivery_that_was_queued_before_a_crash_is_sent_after_it_under_the_same_id(told: Told) -> None:
    told.fires()
    told.error = DeliveryError("503")
    told.run(12)
    (before,) = told.notifier.ledger.outbox.values()
    told.restart()
    (after,) = told.notifier.ledger.outbox.values()
    assert (before.id, after.id) == (after.id, before.id)
    told.error = None
    assert [entry[1:] for entry in told.run(10)] == [("first", ["Down"], [])]


def test_integration_that_wants_no_resolves_gets_none_and_is_told_of_the_next_incident() -> None:
    told = Told(routing(send_resolved=False))
    alert = told.fires()
    told.run(15)
    told.resolves(alert)
    assert told.run(120) == []
    told.fires()
    assert [entry[1:] for entry in told.run(120)] == [("new_firing", ["Down"], [])]


def test_store_that_answers_late_gives_what_is_not_known_better(told: Told) -> None:
    gone, still = told.fires(node="gone"), told.fires("Up")
    told.run(15)
    kept = {name: dict(table) for name, table in told.kept.items()}
    told.kept.clear()
    told.restart()  # while the store is away
    told.notifier.take([still], told.now)
    assert [entry[1:] for entry in told.run(2)] == [("first", ["Up"], [])]
    assert told.notifier.restore(kept, told.now) == 0
    told.notifier.resolve_vanished(told.now)
    assert [entry[1:] for entry in told.run(70)] == [("resolved", [], [gone.labels["node"]])]


def test_what_was_told_of_groups_that_ended_long_ago_is_forgotten(told: Told) -> None:
    told.resolves(told.fires())
    alert = told.fires("Up")
    told.run(15)
    told.resolves(alert)
    told.run(70)
    assert len(told.notifier.ledger.told) == 1
    told.now += 31 * 86_400_000
    told.run(1)
    assert told.notifier.ledger.told == {}


def test_rule_that_is_gone_ends_its_alerts(told: Told) -> None:
    kept, gone = told.fires("Kept"), told.fires("Gone")
    told.notifier.take_own([kept, gone], told.now)
    told.run(15)
    told.notifier.take_own([kept], told.now)
    told.notifier.resolve_vanished(told.now)
    assert [entry[1:] for entry in told.run(120)] == [("resolved", [], ["Gone"])]


def test_clock_that_is_set_back_keeps_nobody_waiting(told: Told) -> None:
    told.fires()
    told.run(15)
    told.now -= 3_600_000
    told.run(1)
    told.fires(node="b")
    assert [entry[1:] for entry in told.run(70)] == [("new_firing", ["Down", "b"], [])]


def test_matcher_that_takes_too_long_on_a_label_keeps_nobody_from_being_told() -> None:
    slow = LabelMatcher("node", "=~", ".*a.*a.*a.*a.*b")
    told = Told(routing(replace(ROUTE, routes=(replace(ROUTE, receiver="", matchers=(slow,)),))))
    told.notifier.mutes.silences["1"] = Silence("1", (slow,), T0, T0 + 60_000, T0, "me", "why")
    told.fires(node="a" * 30)
    assert [reason for _, reason, *_ in told.run(10)] == ["first"]


def test_incident_whose_page_may_have_been_taken_is_not_left_open() -> None:
    pager = Integration("pagerduty", "team/pagerduty[0]", send_resolved=True)
    told = Told(Routing(ROUTE, {"team": Receiver("team", (pager,))}))
    alert, told.error = told.fires(), DeliveryError("no answer within 10 s")
    told.run(20)
    told.restart()
    told.error = None
    told.resolves(alert)
    assert [reason for _, reason, *_ in told.run(300)] == ["resolved"]


def test_sources_of_inhibition_are_not_compared_with_every_alert() -> None:
    reads: list[str] = []

    class Labels(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            reads.append(name)
            return super().get(name, default)

    rule = InhibitRule(source_match={"side": "a"}, target_match={"side": "b"}, equal=["node"])
    mutes = Mutes(routing(inhibit_rules=(rule,)))
    alerts = [NotifiedAlert(Labels(side=side, node=f"{node}"), {}, T0) for node in range(100) for side in "ab"]
    mutes.begin(alerts, T0)
    inhibited = [mutes.of_alert(alert, T0).inhibited_by for alert in alerts]
    assert inhibited[1] == [alerts[0].fingerprint] and len([*filter(None, inhibited)]) == 100
    assert len(reads) < 2000
