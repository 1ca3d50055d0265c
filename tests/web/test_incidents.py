"""Acknowledgements, maintenance and links in messages: over HTTP, by the command, by a program."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from fastapi import FastAPI

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.alerts.notifications.links import Links

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
VIEWER = "a-viewers-token-0123456789012"
CONFIG = """
alertmanager:
  route: {receiver: team, group_by: [alertname]}
  receivers: [{name: team, log_configs: [{}]}]
escalations: [{matchers: [severity=critical], ack_timeout: 30m, levels: [{receiver: team, after: 1h}]}]
rules: {HealthCheckNotHealthy: {enabled: false}, Watchdog: {enabled: false}}
"""
HOSTILE = {"alertname": "Down", "severity": "critical", "x": '<script>alert(1)</script>"'}
ALERT = NotifiedAlert(HOSTILE, {}, 0)


@pytest.fixture
def served(serve: Any, tmp_path: Path) -> Any:
    config = tmp_path / "observability.yaml"
    config.write_text(CONFIG)
    tokens = {"OPERATOR_TOKEN": TOKEN, "VIEWER_TOKEN": VIEWER}
    served = serve(FastAPI(), CONFIG=str(config), EXTERNAL_URL=f"http://ordinaut.test{MOUNT}", **tokens)
    assert call(served, "POST", "/api/v2/alerts", json=[{"labels": HOSTILE}]).status_code == 200
    return served


def call(served: Any, method: str, path: str, token: str = TOKEN, **options: Any) -> Any:
    return served.client.request(method, MOUNT + path, headers={"Authorization": f"Bearer {token}"}, **options)


def silences(served: Any) -> list[tuple[str, str]]:
    """The kind and the author of what is on."""
    shown = call(served, "GET", "/api/v2/silences").json()
    on = [each for each in shown if each["status"]["state"] != "expired"]
    return [(each["annotations"].get("kind", "silence"), each["createdBy"]) for each in on]


def links(served: Any, now_ms: int | None = None) -> dict[str, str]:
    """The paths of the links in a message, by their text."""
    now_ms = served.runtime.alerts.desk.now_ms() if now_ms is None else now_ms
    made = Delivery("g", {}, "team", "team/log[0]", "first", [ALERT], now_ms, now_ms)
    return {text: urlsplit(url).path for text, url in served.runtime.alerts.desk.links.of_delivery(made).items()}


def test_alert_is_acknowledged_and_that_is_taken_back(served: Any) -> None:
    path = f"/alerts/{ALERT.fingerprint}/ack"
    made = call(served, "POST", path, json={"by": "me", "comment": "on it"}).json()
    assert (made["by"], made["comment"]) == ("me", "on it")
    again = call(served, "POST", path, json={"by": "you", "for": "2h"}).json()
    assert silences(served) == [("acknowledgement", "you")]
    line = served.log.lines(3, event_type="silence_changed")[0]
    assert (line["kind"], line["by"], line["security_event"]) == ("acknowledgement", "me", True)
    assert call(served, "DELETE", f"/api/v2/silence/{again['id']}").status_code == 200
    assert silences(served) == []


def test_acknowledgement_lasts_as_its_policy_says(served: Any) -> None:
    call(served, "POST", f"/alerts/{ALERT.fingerprint}/ack", json={})
    (ack,) = served.runtime.alerts.desk.silences()
    assert ack.ends_at_ms - ack.starts_at_ms == pytest.approx(30 * 60_000, abs=5_000)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/alerts/0123456789abcdef/ack", {}, 404, "No alert of this fingerprint fires."),
        (f"/alerts/{ALERT.fingerprint}/ack", {"for": "soon"}, 422, "is not a duration as Prometheus writes it"),
        ("/maintenance", {"for": "25h"}, 422, "give a time of at most 24h"),
        ("/maintenance", {"matchers": ["="]}, 422, "is no matcher such as"),
        ("/silences", {}, 422, "at least one matcher must not match the empty string"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(served: Any, path: str, body: Any, status: int, said: str) -> None:
    refused = call(served, "POST", path, json=body)
    assert (refused.status_code, said in refused.json()["message"]) == (status, True)
    assert silences(served) == []


def test_viewer_changes_nothing(served: Any) -> None:
    for path in ("/maintenance", "/silences", f"/alerts/{ALERT.fingerprint}/ack"):
        assert call(served, "POST", path, VIEWER, json={}).status_code == 403


def test_link_is_a_page_that_changes_nothing_until_its_button_is_pressed(served: Any) -> None:
    paths = links(served)
    assert list(paths) == ["Acknowledge", "Snooze 1 h", "Snooze 8 h", "Snooze 24 h"]
    for text, path in paths.items():
        page = served.client.get(path)
        assert page.status_code == 200 and f'<form method="post"><button>{text}</button></form>' in page.text
        assert "<script" not in page.text and "&lt;script&gt;alert(1)&lt;/script&gt;&quot;" in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'; form-action 'self'")
    assert silences(served) == []
    for path in paths.values():
        assert "done, until" in served.client.post(path).text
    by = "a link in a message"
    assert sorted(silences(served)) == [("acknowledgement", by), ("snooze", by)]
    (snooze,) = (
        each
        for each in served.runtime.alerts.desk.silences()
        if each.kind == "snooze" and each.ends_at_ms > each.updated_at_ms
    )
    assert snooze.ends_at_ms - snooze.starts_at_ms == pytest.approx(86_400_000, abs=100)
    assert {each.name: each.value for each in snooze.matchers} == HOSTILE


def test_forged_expired_and_changed_links_are_refused_and_counted(served: Any) -> None:
    path = links(served)["Snooze 1 h"]
    others = Links("another-token-of-operators-01", "http://x/").of_delivery(
        Delivery("g", {}, "team", "team/log[0]", "first", [ALERT], 2**42, 2**42)
    )
    forged = f"{MOUNT}/links/{others['Acknowledge'].rpartition('/')[2]}"
    for wrong in (forged, links(served, 0)["Acknowledge"], path.replace("1h", "24h"), f"{MOUNT}/links/ä", path[:-1]):
        for method in ("GET", "POST"):
            refused = served.client.request(method, wrong)
            assert (refused.status_code, "This link is not valid" in refused.text) == (403, True)
    assert silences(served) == []
    assert served.value("ordinaut_observability_access_refused_total", tier="links", reason="invalid_link") == 10


def test_link_of_an_alert_that_is_over_says_so(served: Any) -> None:
    ended = "2023-01-01T00:00:00Z"
    call(served, "POST", "/api/v2/alerts", json=[{"labels": HOSTILE, "endsAt": ended, "startsAt": ended}])
    assert "does not fire any more" in served.client.post(links(served)["Acknowledge"]).text


def test_without_operator_token_or_external_url_there_are_no_links(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    assert served.runtime.alerts.desk.links is None
    assert served.client.get(f"{MOUNT}/links/ack.x.1.y").status_code == 403


def test_command_silences_acknowledges_and_begins_and_ends_a_maintenance(served: Any, invoke_command: Any) -> None:
    def run(*arguments: str) -> str:
        done = invoke_command(*arguments, "--url", served.url, "--token", TOKEN)
        assert done.returncode == 0, done.stdout
        return str(done.stdout).strip()

    assert run("alerts", "ack", ALERT.fingerprint, "--by", "me", "--for", "2h").startswith("Acknowledged until ")
    silence = run("silence", "add", "node=a", "-c", "why", "-a", "me")
    maintenance = run("maintenance", "start", "--for", "30m", "--reason", "deployment", "--by", "me")
    listed = run("silence", "list").splitlines()
    assert sorted(line.split()[1] for line in listed) == ["acknowledgement", "maintenance", "silence"]
    assert run("maintenance", "list").startswith(f"{maintenance}  maintenance  until ")
    run("maintenance", "end", maintenance)
    run("silence", "expire", silence)
    assert silences(served) == [("acknowledgement", "me")]
    refused = invoke_command("silence", "expire", "x", "--url", served.url, "--token", TOKEN)
    assert (refused.returncode, refused.stdout) == (2, "silence x not found\n")


def test_maintenance_lasts_while_a_command_runs_and_its_status_is_the_commands(
    served: Any, run_command: Any, tmp_path: Path
) -> None:
    command = f"curl -s -H 'Authorization: Bearer {TOKEN}' {served.url}{MOUNT}/api/v2/silences; exit 7"
    done = run_command("maintenance", "--while", command, "--by", "me", "--url", served.url, "--token", TOKEN)
    assert done.returncode == 7, done.stderr
    (during,) = json.loads(done.stdout)
    assert (during["annotations"], during["status"]) == ({"kind": "maintenance"}, {"state": "active"})
    assert silences(served) == []
    not_run = run_command("maintenance", "--while", f"touch {tmp_path}/ran", "--url", served.url, "--token", VIEWER)
    assert (not_run.returncode, (tmp_path / "ran").exists()) == (2, False)


def test_program_begins_and_ends_a_maintenance_also_without_redis(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from observability.alerts import MaintenanceMode

    monkeypatch.setattr("ordinaut_ext_observability.runtime.current._current", served.runtime)
    mode = MaintenanceMode(redis_client=None)
    assert asyncio.run(mode.is_enabled()) is False
    asyncio.run(mode.enable(duration_minutes=30, reason="deployment"))
    assert asyncio.run(mode.is_enabled()) is True
    assert silences(served) == [("maintenance", "MaintenanceMode")]
    asyncio.run(mode.disable())
    assert silences(served) == [] and asyncio.run(mode.is_enabled()) is False


def test_program_sets_the_key_in_redis_for_as_long(
    served: Any, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    from observability.alerts import MaintenanceMode

    monkeypatch.setattr("ordinaut_ext_observability.runtime.current._current", served.runtime)
    with redis.Redis.from_url(redis_url) as client:
        mode = MaintenanceMode(client)
        asyncio.run(mode.enable(30, "deployment"))
        kept = json.loads(client.get("orchestrator:maintenance"))
        assert (kept["duration_minutes"], kept["reason"]) == (30, "deployment")
        assert 0 < client.ttl("orchestrator:maintenance") <= 1800
        asyncio.run(mode.disable())
        assert client.exists("orchestrator:maintenance") == 0


def test_nothing_claims_to_be_told_or_silenced_where_alertmanager_tells(serve: Any, invoke_command: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, ALERTMANAGER_URLS="http://127.0.0.1:1")
    desk = served.runtime.alerts.desk
    desk._own_alerts = lambda: [ALERT]
    asked = [("/maintenance", {}), ("/silences", {"matchers": ["a=b"]}), (f"/alerts/{ALERT.fingerprint}/ack", {})]
    for path, body in asked:
        refused = call(served, "POST", path, json=body)
        assert refused.status_code == 422 and "no effect here: people are told by Alertmanager" in refused.text
    assert call(served, "POST", "/api/v2/alerts", json=[{"labels": HOSTILE}]).status_code == 400
    why = call(served, "GET", f"/alerts/{ALERT.fingerprint}/why").json()
    assert why["routes"] == [] and why["told_by"].startswith("Alertmanager")
    outcomes = call(served, "POST", "/notifications/test?to=alertmanager").json()["outcomes"]
    assert list(outcomes) == ["alertmanager[0]"]
    shown = invoke_command("notifications", "--url", served.url, "--token", TOKEN).stdout
    assert shown.endswith("Now people are told by Alertmanager (ORDINAUT_OBS_ALERTMANAGER_URLS).\n")
