"""The status page over HTTP: what it says of the host, to whom, how much of it, and how often it is made."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.health.check import MAX_TRANSITIONS
from ordinaut_ext_observability.health.model import HealthStatus, Outcome, Transition, unknown
from ordinaut_ext_observability.web.page import facts as facts_module
from ordinaut_ext_observability.web.page import page as page_module
from ordinaut_ext_observability.web.page.values import in_words
from tests.conftest import eventually

MOUNT = "/ext/observability"
TOKEN, VIEWER = "an-operators-token-0123456789", "a-viewers-token-0123456789012"
SECTIONS = ["state", "alerts", "checks", "http", "queue", "workers", "database"]
SECTIONS += ["errors", "slow", "journal", "loggers", "about"]
RULE = '- {alert: "Down%d", expr: vector(1), labels: {severity: critical}, annotations: {summary: "%s"}}\n'
DISABLED = "cpu,memory,disk,file_descriptors,network,event_loop"
HOSTILE = "<script>alert(1)</script>\" onload='x"


@pytest.fixture
def start(serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Serves an empty application, on which nothing of the machine it runs on is checked."""
    monkeypatch.setattr(page_module, "REMEMBERED_SECONDS", 0.0)

    def start(alerts: int = 0, summary: str = "It is down", **settings: str) -> Any:
        config = tmp_path / "observability.yaml"
        rules = tmp_path / "rules.yml"
        rules.write_text(
            "groups:\n- name: tests\n  interval: 1s\n  rules:\n  "
            + "  ".join(RULE % (each, summary) for each in range(alerts))
        )
        files = f"rule_files: [{rules}]\n" if alerts else ""
        config.write_text(f"{files}rules: {{HealthCheckNotHealthy: {{enabled: false}}}}\n")
        defaults = {
            "CONFIG": str(config),
            "OPERATOR_TOKEN": TOKEN,
            "VIEWER_TOKEN": VIEWER,
            "HEALTH_DISABLED_CHECKS": DISABLED,
        }
        return serve(
            FastAPI(), **{**defaults, "HISTORY_INTERVAL_SECONDS": "1", "ALERTS_SETTLE_SECONDS": "0", **settings}
        )

    return start


def ask(served: Any, path: str = "page", token: str = TOKEN, method: str = "GET", **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
    return served.client.request(method, f"{MOUNT}/{path}", headers=headers, **options)


def words(served: Any, section: str) -> str:
    """The text of a section as a person reads it."""
    html = ask(served).json()["sections"][section]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def status(served: Any) -> str:
    found = re.search(r'<section id="state"[^>]* data-status="(\w+)"', ask(served).json()["sections"]["state"])
    assert found is not None
    return found[1]


def set_check(served: Any, outcome: Any, **options: Any) -> None:
    served.runtime.health_monitor.register_check("payments", lambda: outcome, failures_to_worsen=1, **options)
    assert eventually(lambda: "payments" in words(served, "checks") and "not run yet" not in words(served, "checks"))


def test_browser_gets_the_page_and_a_program_the_index(start: Any) -> None:
    served = start()
    page = ask(served, "", headers={"Accept": "text/html,application/xhtml+xml"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert re.findall(r'<section id="(\w+)" aria-labelledby="\1-title"', page.text) == SECTIONS
    assert len(page.content) <= 60_000, "an empty host's page has half of what any may have"
    assert ask(served, "").json()["mount_path"] == MOUNT
    assert served.internal_errors() == {}


def test_state_is_the_worst_of_what_is_known_and_unknown_is_not_well(start: Any) -> None:
    served = start()
    for outcome, required, shown, said in (
        (Outcome(HealthStatus.UNHEALTHY, "refused"), True, "unhealthy", "Check payments is unhealthy: refused"),
        (Outcome(HealthStatus.UNHEALTHY, "refused"), False, "degraded", "Check payments is unhealthy: refused"),
        (Outcome(HealthStatus.DEGRADED, "slow"), True, "degraded", "Check payments is degraded: slow"),
        (unknown("nobody answers"), False, "unknown", "Nothing is known to be wrong. But not all could be found out."),
        (Outcome(HealthStatus.HEALTHY), True, "healthy", "All is well"),
    ):
        set_check(served, outcome, required=required)
        assert eventually(lambda: status(served) == shown), words(served, "state")
        assert said in words(served, "state")


def test_soon_after_a_start_it_is_not_known_which_alerts_fire(start: Any) -> None:
    served = start(ALERTS_SETTLE_SECONDS="60")
    set_check(served, Outcome(HealthStatus.HEALTHY, ""))
    assert eventually(lambda: status(served) == "unknown")
    assert "It is not known yet which alerts fire" in words(served, "state")


def test_a_process_that_evaluates_no_alerts_does_not_say_that_none_fires(start: Any) -> None:
    served = start(ALERTS="false")
    set_check(served, Outcome(HealthStatus.HEALTHY, ""))
    assert eventually(lambda: status(served) == "healthy")
    assert "no alert fires" not in words(served, "state")
    assert "This process evaluates no alerts" in words(served, "state")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.9997, "%", "99.97%"),
        (1.0, "%", "100%"),
        (0.9996, "s", "1,000 ms"),
        (-5000.0, "", "-5,000"),
        (90.0, "s", "1.5 min"),
    ],
)
def test_numbers_are_not_rounded_to_what_they_are_not(value: float, unit: str, expected: str) -> None:
    assert in_words(value, unit) == expected


def test_alert_that_fires_is_a_reason_and_says_who_works_on_it(start: Any) -> None:
    served = start(alerts=1)
    assert eventually(lambda: "Alert Down0: It is down" in words(served, "state"))
    assert status(served) == "unhealthy"
    found = re.search(r'data-fingerprint="(\w+)"', ask(served).json()["sections"]["alerts"])
    assert found is not None
    ask(served, f"alerts/{found[1]}/ack", method="POST", json={"by": "Ada", "comment": "on it"})
    assert "Acknowledged by Ada" in words(served, "alerts")
    assert "Down0 alert It is down" in words(served, "journal")
    assert "data-action" not in ask(served, token=VIEWER).text
    assert "by Ada" in ask(served, token=VIEWER).text


def test_section_shows_so_many_items_and_says_how_many_more_there_are(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = start(alerts=55)
    for number in range(120):
        served.runtime.health_monitor.register_check(f"check{number}", lambda: None)
        monkeypatch.setattr(logging.getLogger(f"tests.bounds.{number}"), "level", logging.ERROR)
    assert eventually(lambda: re.search(r"\d more: GET alerts", words(served, "alerts")))
    assert "more" in words(served, "checks") and "more" in words(served, "loggers")
    sections = ask(served).json()["sections"]
    assert [sections[name].count('<th scope="row">') for name in ("checks", "loggers")] == [100, 100]
    assert sections["alerts"].count("<article") <= 50


def test_all_alerts_are_counted_where_some_are_shown(start: Any) -> None:
    served = start(alerts=55)
    assert eventually(lambda: "Alerts 55 firing, 0 pending" in words(served, "alerts"))


def test_no_step_of_the_page_looks_at_more_than_a_check_or_a_hundred_changes(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, looked_at = start(HISTORY="false"), list[int]()
    context, at = served.face._endpoint_context, datetime.now(UTC)
    for number in range(20):
        served.runtime.health_monitor.register_check(f"check{number}", lambda: None)
        changes = served.runtime.health_monitor._checks[f"check{number}"].transitions
        changes.extend([Transition(at, HealthStatus.HEALTHY, HealthStatus.UNHEALTHY, "")] * MAX_TRANSITIONS)
    ms_of = facts_module.ms_of
    monkeypatch.setattr(facts_module, "ms_of", lambda change: looked_at.append(1) or ms_of(change))
    page, view = page_module.StatusPage(Clock()), page_module.View("", "1h", True)
    total = 0
    for _ in page._render_parts(page_module._make_environment(None), context, {"type": "http"}, view):
        assert len(looked_at) <= MAX_TRANSITIONS + 1
        total += len(looked_at)
        looked_at.clear()
    assert total > 20 * MAX_TRANSITIONS


def test_settings_that_are_wrong_are_shown_in_part(start: Any) -> None:
    served = start(LABEL_BUDGET="none", **{f"MISSPELT_{number}": "1" for number in range(25)})
    assert ask(served).json()["sections"]["about"].count('class="problem"') == 20
    assert "2 more: GET config has all" in words(served, "about")


def test_empty_host_is_told_what_is_not_known_and_what_to_set(start: Any) -> None:
    served = start(HISTORY="false")
    for section, said in (
        ("http", "Set ORDINAUT_OBS_HISTORY to true"),
        ("queue", "Set ORDINAUT_OBS_HISTORY to true"),
        ("workers", "Nothing is known of workers"),
        ("database", "Set DATABASE_URL and REDIS_URL"),
        ("alerts", "No rules are evaluated in this process"),
        ("checks", "Not configured, so not known: database"),
        ("errors", "No error"),
        ("slow", "No request was slow or failed"),
        ("about", "No deployment is known"),
    ):
        assert said in words(served, section)


def test_texts_of_others_are_text_without_secrets(start: Any) -> None:
    served = start()
    set_check(served, Outcome(HealthStatus.UNHEALTHY, HOSTILE))
    ask(served, "events/deployment", method="POST", json={"version": HOSTILE, "commit": "bob@example.com"})
    shown = ask(served).text + ask(served, "", headers={"Accept": "text/html"}).text
    assert HOSTILE not in shown and "<script>alert" not in shown and "bob@example.com" not in shown
    assert HOSTILE in words(served, "about") and "[REDACTED_EMAIL]" in words(served, "about")


def test_unchanged_page_is_not_sent_again_and_a_change_shows_at_once(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = start(HISTORY="false", HEALTH_INTERVAL_SECONDS="300")
    monkeypatch.setattr(page_module, "REMEMBERED_SECONDS", 60.0)
    first = ask(served)
    again = ask(served, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    ask(served, "loggers/tests.page", method="PUT", json={"level": "DEBUG", "for": "1h"})
    changed = ask(served, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200 and "tests.page" in changed.json()["sections"]["loggers"]


def test_many_who_look_share_one_rendering(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served, made = start(), []
    monkeypatch.setattr(page_module, "REMEMBERED_SECONDS", 60.0)
    moment = page_module.Moment
    monkeypatch.setattr(page_module, "Moment", lambda *given: made.append(1) or moment(*given))

    async def look() -> set[str]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, trust_env=False, verify=False) as client:
            answers = await asyncio.gather(*(client.get(f"{MOUNT}/page") for _ in range(100)))
        return {answer.headers["ETag"] for answer in answers}

    assert len(asyncio.run(look())) == len(made) == 1
    for number in range(20):
        ask(served, f"page?route=/{number}")
    assert len(served.face._endpoint_context.page()._documents) == page_module.MAX_REMEMBERED


def test_range_that_cannot_be_shown_is_refused_with_what_is_accepted(start: Any) -> None:
    served = start()
    for given in ("x", "0", "1s", "25h"):
        for path, accept in (("page", "*/*"), ("", "text/html")):
            answer = ask(served, f"{path}?range={given}", headers={"Accept": accept})
            assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
            assert "from 1m to 24h" in answer.json()["message"]


def test_a_part_that_fails_hides_no_other(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    served = start()

    def fail(_moment: Any) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setitem(page_module.JUDGED, "loggers", fail)
    sections = ask(served).json()["sections"]
    assert list(sections) == SECTIONS
    assert "cannot be shown" in sections["loggers"] and "secret" not in sections["loggers"]
    assert 'data-status="' in sections["state"]


def test_names_that_no_text_can_hold_are_shown_in_part(start: Callable[..., Any]) -> None:
    logging.getLogger("\udce9-of-the-page").setLevel("DEBUG")  # from a path that is not UTF-8
    served = start()
    assert "?-of-the-page" in ask(served).json()["sections"]["loggers"]
    assert ask(served, "", headers={"Accept": "text/html"}).status_code == 200
