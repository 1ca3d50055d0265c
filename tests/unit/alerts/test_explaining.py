"""What is said of an alert: who was told and why, what mutes it, what waits, when it is looked at next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from ordinaut_ext_observability.alerts.notifications import desk as desk_module
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import DeliveryError
from ordinaut_ext_observability.alerts.notifications.desk import AlertDesk, RefusedError
from ordinaut_ext_observability.alerts.notifications.explaining import explain, journal_of
from ordinaut_ext_observability.alerts.notifications.notifier import Notifier
from ordinaut_ext_observability.alerts.notifications.silences import Silence
from ordinaut_ext_observability.alerts.notifications.store import NotificationStore
from ordinaut_ext_observability.alerts.routing.config import read_routing
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from tests.clock import ManualClock

ROUTING = read_routing(
    {
        "route": {
            "receiver": "night",
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": ["1h", "4h"],
            "routes": [{"receiver": "day", "matchers": ["team=day"], "active_time_intervals": ["never"]}],
        },
        "receivers": [{"name": "night", "log_configs": [{}, {}]}, {"name": "day", "log_configs": [{}]}],
        "inhibit_rules": [{"source_matchers": ["alertname=Down"], "target_matchers": ["alertname=Slow"]}],
        "time_intervals": [{"name": "never", "time_intervals": [{"years": ["2001"]}]}],
    }
)


class Installation:
    """A leader whose second integration fails, and a desk as any process has it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = NotificationStore(None, self.clock)
        self.alerts: list[NotifiedAlert] = []
        self.notifier = Notifier(ROUTING, self.now)
        configured: Any = SimpleNamespace(routing=ROUTING, policies=(), told_by="")
        self.desk = AlertDesk(self.store, configured, lambda: self.alerts, self._event, None)

    def _event(self, *_: Any, **__: Any) -> None:
        pass

    @property
    def now(self) -> int:
        return round(self.clock.wall() * 1000)

    def fire(self, name: str, **labels: str) -> NotifiedAlert:
        alert = NotifiedAlert({"alertname": name, **labels}, {}, self.now, updated_at_ms=self.now)
        self.alerts.append(alert)
        return alert

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.notifier.take(self.alerts, self.now)
            self.notifier.flush_due(self.now)
            for delivery in self.notifier.ledger.due(self.now):
                if delivery.integration.endswith("[1]"):
                    self.notifier.note_failed(delivery, DeliveryError("the receiver answered 503"), self.now)
                else:
                    self.notifier.note_delivered(delivery, self.now)
            self.store.write(self.notifier.ledger.take_changed())

    def why(self, alert: NotifiedAlert) -> dict[str, Any]:
        found = explain(self.desk, alert.fingerprint)
        assert found is not None
        return found


@pytest.fixture
def installation() -> Iterator[Installation]:
    installation = Installation()
    yield installation
    installation.store.close()


def test_alert_says_when_its_new_group_is_looked_at(installation: Installation) -> None:
    why = installation.why(installation.fire("Down"))
    assert why["state"] == "firing" and why["journal"] == []
    (route,) = why["routes"]
    assert route["integrations"] == dict.fromkeys(("night/log[0]", "night/log[1]"), "not told yet")
    assert route["next_look"] == "about 2023-11-15 01:00:10 UTC, for the first time"


def test_alert_says_who_was_told_why_and_when_again_and_what_waits(installation: Installation) -> None:
    alert = installation.fire("Down")
    installation.run(15)
    (route,) = installation.why(alert)["routes"]
    told = "told at 2023-11-15 01:00:10 UTC that it fires, reason: first"
    again = "told again at the first look after 2023-11-15 02:00:10 UTC if it still fires"
    assert route["integrations"]["night/log[0]"] == f"{told}. {again}"
    tried = "3 tries failed, the last: the receiver answered 503; next try 2023-11-15 01:00:17 UTC"
    assert route["integrations"]["night/log[1]"] == f"waits to be sent since 2023-11-15 01:00:10 UTC: {tried}"
    assert route["next_look"].startswith("about 2023-11-15 01:01:10 UTC: the process that leads looks every 60 s")


def test_alert_that_is_over_says_so_and_what_was_dropped(installation: Installation) -> None:
    alert = installation.fire("Down")
    installation.run(15)
    installation.alerts = [replace(alert, ends_at_ms=installation.now, updated_at_ms=installation.now)]
    installation.run(60)
    why = installation.why(alert)
    assert (why["state"], "routes" in why) == ("resolved", False)
    assert [(entry["integration"], entry["status"], entry["outcome"]) for entry in why["journal"]] == [
        ("night/log[0]", "resolved", "sent"),
        ("night/log[1]", "firing", "dropped"),
        ("night/log[0]", "firing", "sent"),
    ]
    assert [entry["id"] for entry in journal_of(installation.desk, "Down")] == [e["id"] for e in why["journal"]]
    assert journal_of(installation.desk, "Up") == []


def test_alert_names_everything_that_mutes_it(installation: Installation) -> None:
    source, alert = installation.fire("Down"), installation.fire("Slow", team="day")
    installation.desk.set_silence(
        Silence(
            "", (LabelMatcher("team", "=", "day"),), installation.now, installation.now + 3_600_000, 0, "ann", "work"
        )
    )
    installation.run(15)
    (route,) = installation.why(alert)["routes"]
    silence, inhibited, interval = route["muted_by"]
    assert silence.endswith(" by ann until 2023-11-15 02:00:00 UTC: work") and silence.startswith("silence ")
    assert inhibited == f"inhibited by the alert Down ({source.fingerprint})"
    assert interval == "outside the time interval never"
    assert route["integrations"] == {"day/log[0]": "not told: it is muted"}
    assert route["next_look"] == "not known here: the process that leads looks every 60 s"


def test_nothing_is_said_of_an_alert_that_nobody_knows(installation: Installation) -> None:
    assert explain(installation.desk, "0123456789abcdef") is None


def test_a_silence_ends_only_where_the_one_in_its_place_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    installation = Installation()
    begin = partial(installation.desk.begin, "maintenance", by="ada", comment="")
    begin(60_000)
    monkeypatch.setattr(desk_module, "MAX_SILENCES", 1)
    again = begin(120_000)
    assert installation.desk.maintenances() == [again]
    monkeypatch.setattr(desk_module, "MAX_SILENCES", 0)
    with pytest.raises(RefusedError, match="silences"):
        begin(180_000)
    assert installation.desk.maintenances() == [again]
