"""What people read: one notification as Slack, PagerDuty and a mail show it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.channels.email import make_mail
from ordinaut_ext_observability.alerts.channels.message import Message, make_message
from ordinaut_ext_observability.alerts.channels.pagerduty import make_event
from ordinaut_ext_observability.alerts.channels.slack import payload
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery

NOW = 1_700_000_000_000
URL = "https://ordinaut.example.com/ext/observability"
SAID = {
    "summary": "Many requests fail",
    "description": "32 % of them",
    "runbook_url": "https://wiki.example.com/x?id=3",
}


def alert(name: str = "HttpErrorBurnFast", ends_ms: int | None = None, **labels: str) -> NotifiedAlert:
    return NotifiedAlert({"alertname": name, "severity": "critical", **labels}, SAID, NOW - 725_000, ends_ms)


def delivery(*alerts: NotifiedAlert, reason: Any = "first", **facts: Any) -> Delivery:
    return Delivery("{}", {}, "critical", "critical/slack[0]", reason, list(alerts), NOW, NOW, facts=facts)


def message(given: Delivery, url: str = URL) -> Message:
    return make_message(given, ChannelContext(lambda *_, **__: None, url))


def test_message_says_what_fires_since_when_its_value_and_what_is_behind_it() -> None:
    fires = alert()
    found = message(delivery(fires, values={fires.fingerprint: "0.32 (threshold 0.144)"}, about={"Sent by": "api-1"}))
    assert found.title == "CRITICAL HttpErrorBurnFast: Many requests fail"
    since = "2023-11-14 22:01 UTC, for 12m 5s"
    alert_says = {"What": "32 % of them", "Value": "0.32 (threshold 0.144)", "Since": since}
    assert found.parts == [alert_says, {"Sent by": "api-1"}]
    runbook = {"Runbook of HttpErrorBurnFast": "https://wiki.example.com/x?id=3"}
    assert found.links == {"All alerts": f"{URL}/alerts", **runbook}
    assert message(delivery(fires), url="").links == runbook


def test_message_on_several_alerts_counts_them_and_names_what_tells_them_apart() -> None:
    found = message(delivery(alert(node="a"), alert(node="b", ends_ms=NOW - 60_000), reason="some_resolved"))
    assert found.title == "CRITICAL HttpErrorBurnFast: 1 firing, 1 resolved"
    assert [each["Labels"] for each in found.parts] == ["node=a", "node=b"]
    assert found.parts[1]["Resolved"] == "2023-11-14 22:12 UTC, after 11m 5s"
    repeated = message(delivery(alert(), reason="repeat"))
    assert repeated.parts[-1] == {"Why again": "It still fires."}


def test_resolve_does_not_say_that_it_still_is_so() -> None:
    found = message(delivery(alert(ends_ms=NOW)))
    assert (found.title, list(found.parts[0])) == ("RESOLVED HttpErrorBurnFast: Many requests fail", ["Resolved"])


def test_message_describes_ten_alerts_and_counts_the_others() -> None:
    found = message(delivery(*(alert(node=str(number)) for number in range(25))))
    assert (len(found.parts), found.parts[-1]["Further alerts"]) == (11, "15")


@settings(max_examples=50)
@given(st.text(), st.text(), st.text(min_size=1))
def test_no_text_calls_a_channel_in_slack_or_is_longer_than_it_takes(label: str, summary: str, fact: str) -> None:
    # Repeated, so that it is longer than a block.
    hostile = NotifiedAlert({"alertname": "<!channel>" + label}, {"summary": summary * 99, "description": "<@U1>"}, NOW)
    found = message(delivery(hostile, alert(), about={fact * 99: "&" * 999, "b": "<" * 999}))
    blocks = payload(found)["attachments"][0]["blocks"]
    assert orjson.dumps(blocks)
    assert len(blocks) <= 50
    for block in blocks[:-1]:
        assert "<" not in block["text"]["text"]
        assert ">" not in block["text"]["text"]
        assert 0 < len(block["text"]["text"]) <= 3000


def test_secrets_are_masked_whoever_is_told() -> None:
    told = NotifiedAlert(
        {"alertname": "A", "node": "password=hunter2"},
        {"summary": "token=hunter2", "description": "Basic aHVudGVyMjpodW50ZXIy"},
        NOW,
    )
    given = delivery(told, about={"Failed request": "postgresql://u:hunter2@h"})
    found = message(given)
    mail = make_mail(given, found, "a@b.org", "c@d.org").as_string()
    for text in (str(payload(found)), str(make_event(given, found)), mail):
        assert "hunter2" not in text
        assert "aHVudGVyMjpodW50ZXIy" not in text


@pytest.mark.parametrize(("acknowledged", "action"), [(False, "trigger"), (True, "acknowledge")])
def test_pagerduty_opens_or_acknowledges_an_incident(acknowledged: bool, action: str) -> None:
    given = delivery(alert(instance="api-1"), **({"acknowledged_by": "me"} if acknowledged else {}))
    event = make_event(given, message(given))
    assert event["event_action"] == action
    if not acknowledged:
        assert event["payload"]["source"] == "api-1"
        assert event["payload"]["severity"] == "critical"
        assert event["payload"]["summary"] == "CRITICAL HttpErrorBurnFast: Many requests fail"
    resolved = delivery(alert(ends_ms=NOW))
    assert make_event(resolved, message(resolved)) == {"event_action": "resolve"}


def test_mail_has_no_header_from_a_text_and_the_same_id_at_a_second_try() -> None:
    given = delivery(NotifiedAlert({"alertname": "A\r\nBcc: evil"}, {}, NOW))
    mail = make_mail(given, message(given), "Ordinaut <a@b.org>", "c@d.org,\r\n e@f.org")
    assert (mail["Bcc"], mail["Subject"], mail["To"]) == (None, "ERROR A Bcc: evil", "c@d.org, e@f.org")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == f"<{given.id}@b.org>"
    later = Delivery("{}", {}, "critical", "critical/slack[0]", "repeat", given.alerts, NOW + 1, NOW + 1)
    again = make_mail(later, message(later), "a@b.org", "c@d.org")
    assert again["References"] == mail["In-Reply-To"] == mail["References"]
    assert again["Message-ID"] != mail["Message-ID"]
