"""Who else is told of what nobody acknowledged, on a clock moved by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import DeliveryError
from ordinaut_ext_observability.alerts.notifications.notifier import Notifier
from ordinaut_ext_observability.alerts.notifications.silences import MAINTENANCE, Silence, announcements
from ordinaut_ext_observability.alerts.routing.config import RoutingError, read_escalations, read_routing
from ordinaut_ext_observability.promql.matchers import LabelMatcher

T0 = 1_700_000_000_000  # a Tuesday, 22:13:20 UTC
MINUTE = 60_000
ROUTING: dict[str, Any] = {
    "route": {"receiver": "team", "group_by": ["alertname"], "group_wait": "10s", "repeat_interval": "4h"},
    "receivers": [
        {"name": "team", "webhook_configs": [{"url": "http://team/"}]},
        {"name": "lead", "pagerduty_configs": [{"routing_key": "0" * 32}]},
        {"name": "head", "webhook_configs": [{"url": "http://head/"}]},
    ],
    "time_intervals": [{"name": "days", "time_intervals": [{"times": [{"start_time": "09:00", "end_time": "17:00"}]}]}],
}
LEVELS: list[Any] = [
    {"levels": [{"receiver": "lead", "after": "10m", "repeat": "30m"}, {"receiver": "head", "after": "1h"}]}
]
Sent = list[tuple[int, str, str]]


class Incident:
    """A notifier with policies; a delivery arrives at once, except to who is down."""

    def __init__(self, policies: list[Any] | None = None) -> None:
        self.now = T0
        self.routing = read_routing(ROUTING)
        self.policies = read_escalations(LEVELS if policies is None else policies, self.routing)
        self.silences: dict[str, Silence] = {}
        self.down: DeliveryError | None = None
        self.facts: list[dict[str, Any]] = []
        self.kept: dict[str, dict[str, bytes]] = {}
        self.events: list[dict[str, Any]] = []
        self.restart()

    def restart(self) -> None:
        event = lambda _, **facts: self.events.append(facts)  # noqa: E731
        self.notifier = Notifier(self.routing, self.now, self.policies, event)
        assert self.notifier.restore(self.kept, self.now) == 0

    def fires(self, name: str = "Down", **labels: str) -> NotifiedAlert:
        alert = NotifiedAlert({"alertname": name, **labels}, {}, self.now, updated_at_ms=self.now)
        self.notifier.take([alert], self.now)
        return alert

    def resolves(self, alert: NotifiedAlert) -> None:
        self.notifier.take([replace(alert, ends_at_ms=self.now, updated_at_ms=self.now)], self.now)

    def silence(self, minutes: int, kind: Any = "silence", **labels: str) -> None:
        matchers = tuple(LabelMatcher(name, "=", value) for name, value in labels.items())
        ends = self.now + minutes * MINUTE
        self.silences[kind] = Silence(kind, matchers, self.now, ends, self.now, "me", "why", kind)

    def acknowledges(self, alert: NotifiedAlert, minutes: int) -> None:
        self.silence(minutes, "acknowledgement", **alert.labels)

    def run(self, minutes: float) -> Sent:
        """What was sent in the minutes that follow: in which minute, to whom, why."""
        sent: Sent = []
        end = self.now + round(minutes * MINUTE)
        while self.now < end:
            self.now += 5_000
            self.notifier.take(announcements(self.silences.values(), self.now), self.now)
            self.notifier.take_silences(dict(self.silences), self.now)
            self.notifier.flush_due(self.now)
            for delivery in self.notifier.ledger.due(self.now):
                if delivery.receiver == "team" and self.down is not None:
                    self.notifier.note_failed(delivery, self.down, self.now)
                    continue
                self.facts += filter(None, [delivery.facts])
                sent.append(((self.now - T0) // MINUTE, delivery.receiver, delivery.reason))
                self.notifier.note_delivered(delivery, self.now)
            for record in self.notifier.ledger.take_changed():
                table = self.kept.setdefault(record.table, {})
                table.pop(record.key, None)
                if record.content is not None:
                    table[record.key] = record.content
        return sent


@pytest.fixture
def incident() -> Incident:
    return Incident()


def test_what_still_fires_is_told_level_by_level_and_its_end_to_all(incident: Incident) -> None:
    alert = incident.fires()
    assert incident.run(75) == [
        (0, "team", "first"),
        (10, "lead", "escalated"),
        (45, "lead", "repeat"),
        (60, "head", "escalated"),
    ]
    assert [each["receiver"] for each in incident.events] == ["lead", "head"]
    incident.resolves(alert)
    assert {each[1:] for each in incident.run(6)} == {("team", "resolved"), ("lead", "resolved"), ("head", "resolved")}
    incident.fires()
    assert [each[1:] for each in incident.run(12)] == [("team", "new_firing"), ("lead", "escalated")]


def test_what_is_over_before_its_level_is_told_to_no_further_receiver(incident: Incident) -> None:
    alert = incident.fires()
    incident.run(8)
    incident.resolves(alert)
    assert incident.run(30) == [(10, "team", "resolved")]


def test_acknowledged_alert_is_told_again_at_its_timeout_and_escalates_from_then_on(incident: Incident) -> None:
    alert = incident.fires()
    incident.run(4)
    incident.acknowledges(alert, 60)
    assert incident.run(59.5) == []
    assert incident.run(12) == [(64, "team", "silence_ended"), (74, "lead", "escalated")]


def test_acknowledged_alert_is_not_repeated_and_pagerduty_is_told_at_once(incident: Incident) -> None:
    alert = incident.fires()
    incident.run(15)
    incident.acknowledges(alert, 300)
    assert incident.run(1) == [(15, "lead", "acknowledged")]
    assert incident.facts == [{"acknowledged_by": "me"}]
    assert incident.run(290) == []
    assert {each[1:] for each in incident.run(10)} == {("team", "silence_ended"), ("lead", "silence_ended")}


def test_end_of_an_acknowledged_alert_is_told_to_all(incident: Incident) -> None:
    alert = incident.fires()
    incident.run(15)
    incident.acknowledges(alert, 300)
    incident.run(5)
    incident.resolves(alert)
    assert {each[1:] for each in incident.run(6)} == {("team", "resolved"), ("lead", "resolved")}


def test_new_alert_beside_an_acknowledged_one_is_told_and_escalates(incident: Incident) -> None:
    first = incident.fires(node="a")
    assert incident.run(2) == [(0, "team", "first")]
    incident.acknowledges(first, 600)
    incident.run(1)
    incident.fires(node="b")
    assert [each[1:] for each in incident.run(20)] == [("team", "new_firing"), ("lead", "escalated")]


def test_acknowledgement_of_an_earlier_incident_is_none(incident: Incident) -> None:
    alert = incident.fires()
    incident.run(1)
    incident.acknowledges(alert, 600)
    incident.resolves(alert)
    incident.run(10)
    incident.fires()
    assert ("lead", "escalated") in {each[1:] for each in incident.run(15)}


@pytest.mark.parametrize("permanent", [False, True])
def test_receiver_that_is_down_makes_the_next_level_due_and_no_other(incident: Incident, permanent: bool) -> None:
    incident.fires()
    incident.down = DeliveryError("it is down", permanent=permanent)
    told = incident.run(8)
    assert [each[1:] for each in told] == [("lead", "escalated")] and told[0][0] <= 3
    assert incident.events[0]["reason"] == "team cannot be told"
    incident.down = None
    assert ("team", "first") in {each[1:] for each in incident.run(6)}


def test_silenced_group_does_not_escalate(incident: Incident) -> None:
    incident.fires()
    incident.run(1)
    incident.silence(60, alertname="Down")
    incident.run(5)
    assert incident.run(54) == []
    assert {each[1:] for each in incident.run(30)} == {("team", "silence_ended"), ("lead", "escalated")}


def test_level_outside_its_hours_waits_for_them() -> None:
    incident = Incident([{"levels": [{"receiver": "lead", "after": "10m", "active_time_intervals": ["days"]}]}])
    incident.fires()
    ((minute, *_),) = (each for each in incident.run(11 * 60) if each[2] == "escalated")
    assert 0 <= minute - 646 <= 5  # 09:00, at the group's next look


def test_restart_goes_on_with_what_was_reached_and_when(incident: Incident) -> None:
    alert = incident.fires()
    incident.run(11)
    incident.restart()
    incident.notifier.take([alert], incident.now)
    assert incident.run(55) == [(41, "lead", "repeat"), (60, "head", "escalated")]
    incident.restart()
    incident.notifier.resolve_vanished(incident.now)
    assert {each[1:] for each in incident.run(6)} == {("team", "resolved"), ("lead", "resolved"), ("head", "resolved")}


def test_policy_is_for_alerts_that_match() -> None:
    incident = Incident([{**LEVELS[0], "matchers": ["severity=critical"]}])
    incident.fires("Slow", severity="warning")
    incident.fires("Down", severity="critical")
    assert [each[1:] for each in incident.run(20)].count(("lead", "escalated")) == 1


def test_maintenance_is_announced_at_its_start_and_end_and_what_fires_then_is_told(incident: Incident) -> None:
    incident.fires()
    incident.run(1)
    incident.silence(30, "maintenance")
    assert incident.run(29) == [(1, "team", "first")]
    assert {each[1:] for each in incident.run(2)} == {("team", "resolved"), ("team", "silence_ended")}
    labels = [orjson.loads(each)["alerts"][0]["alertname"] for each in incident.kept["journal"].values()]
    assert labels.count(MAINTENANCE) == 2


@pytest.mark.parametrize(
    ("policies", "problem"),
    [
        ([{"levels": []}], "escalations.0.levels: must have at least 1 entries"),
        ([{"levels": [{"receiver": "lead", "after": "soon"}]}], "escalations.0.levels.0.after: is not a duration"),
        ([{"levels": [{"receiver": "x", "after": "1m"}]}], "'x' tells nobody; there are team, lead, head"),
        (
            [{"levels": [{"receiver": "lead", "after": "1m", "active_time_intervals": ["x"]}]}],
            "escalations.0.levels.0: there is no time interval 'x'",
        ),
        ([{"level": []}], "no such name"),
    ],
)
def test_wrong_policy_is_refused_by_its_place(policies: list[Any], problem: str) -> None:
    with pytest.raises(RoutingError) as refused:
        Incident(policies)
    assert problem in str(refused.value)


def test_who_refused_one_incident_is_tried_anew_at_the_next(incident: Incident) -> None:
    incident.down = DeliveryError("the receiver answered 400", permanent=True)
    alert = incident.fires()
    assert incident.run(1) == [(0, "lead", "escalated")]
    incident.resolves(alert)
    assert incident.run(9) == [(1, "lead", "resolved")]
    incident.down = None
    incident.fires()
    assert incident.run(6) == [(10, "team", "first")]
