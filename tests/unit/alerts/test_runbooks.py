"""What runbooks tell people: nothing in them is made up."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from ordinaut_ext_observability.alerts import runbooks
from ordinaut_ext_observability.alerts.builtin import builtin_groups
from ordinaut_ext_observability.alerts.loading import LoadedRules
from ordinaut_ext_observability.alerts.rules import AlertingRule
from ordinaut_ext_observability.alerts.runbooks import built_in_alerts, read_runbook
from ordinaut_ext_observability.cli.main import app
from ordinaut_ext_observability.metrics.declarations import PARTS
from ordinaut_ext_observability.metrics.declare import declarations_of
from ordinaut_ext_observability.promql.nodes import names_read
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.logs.event_types import EVENTS
from ordinaut_ext_observability.settings.load import SETTINGS
from ordinaut_ext_observability.web.router import ENDPOINTS
from tests.runbooks import RUNBOOKS, codes, commands, queries

TOP = Path(__file__).parents[3]
PARTS_OF_ONE = ["How to see it", "Likely causes", "What to do", "When it ends"]
RECORDED = {rule.name for group in builtin_groups() for rule in group.rules if rule.kind == "recording"}


def test_each_built_in_alert_has_a_runbook_and_no_other_file_is_there() -> None:
    names = {each.name for each in files(runbooks).iterdir() if each.name.endswith(".md")}
    assert names == {f"{alert}.md" for alert in built_in_alerts()}
    assert names == {path.name for path in (TOP / "docs" / "runbooks").iterdir()}


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_a_runbook_is_short_and_answers_every_question(alert: str) -> None:
    text = read_runbook(alert)
    assert len(text.splitlines()) <= 25 and re.findall("^## (.+)", text, re.MULTILINE) == PARTS_OF_ONE
    assert not text.startswith("#") and text.isascii()
    assert f"silence add alertname={alert} " in RUNBOOKS[alert]
    assert list(commands(text)) and (alert == "HistoryStopped" or len(queries(text)) > 0 or alert == "Watchdog")


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_what_a_runbook_names_is_there(alert: str) -> None:
    text, given = RUNBOOKS[alert], {setting.variable for setting in SETTINGS}
    assert set(re.findall(r"\]\(([^)]+)\)", text)) <= {f"{name}.md" for name in RUNBOOKS}
    assert all((TOP / page).is_file() for page in re.findall(r"docs/[\w.-]+\.md", text))
    assert set(re.findall(r"ORDINAUT_OBS_\w+", text)) <= given
    events = {event.name for event in EVENTS}
    asked = {(method, each.path) for each in ENDPOINTS for method in each.methods}
    for code in codes(text):
        if re.match("(GET|POST) ", code):
            assert tuple(code.split()) in asked
        elif re.fullmatch(r"[a-z]+(_[a-z]+)+", code):
            assert code in events | {"event_type"}


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_the_metrics_that_a_runbook_asks_for_are_declared(alert: str) -> None:
    declared = {each.name for part in PARTS for _, each in declarations_of(part)} | RECORDED
    for query in queries(RUNBOOKS[alert]):
        bases = {name and re.sub("_(bucket|count|sum)$", "", name) for name in names_read(parse(query))}
        assert bases <= declared | ({None} if alert == "HistoryFull" else set()), query


def test_commands_take_the_words_that_runbooks_give_them() -> None:
    for words in sorted({tuple(words) for text in RUNBOOKS.values() for words in commands(text)}):
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, (words, done.output)
        if words[0] == "check":
            assert urlsplit(words[1]).port == 8000


def test_alerts_lead_to_their_runbooks_where_people_reach_us() -> None:
    for url, base in (
        ("https://a.example/x", "https://a.example/x"),
        ("https://a.example/{{x}}", "https://a.example/%7B%7Bx}}"),
        ("", ""),
    ):
        rules = LoadedRules([], {}, url)
        rules.read_changed()
        alerts = [rule for group in rules.groups for rule in group.rules if isinstance(rule, AlertingRule)]
        found = {rule.name: str(rule.annotations.get("runbook_url", "")) for rule in alerts}
        assert found == {name: base and f"{base}/runbooks/{name}" for name in built_in_alerts()}
