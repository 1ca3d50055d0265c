"""`alerts`, `rules list` and `rules check`: what they print, and their exit statuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.alerts.report import GroupReport, Report, RuleReport
from ordinaut_ext_observability.alerts.rounds import Progress
from ordinaut_ext_observability.alerts.rule_files import RuleFileError
from ordinaut_ext_observability.alerts.rules import AlertingRule, RuleGroup
from ordinaut_ext_observability.alerts.states import AlertState, RuleState
from ordinaut_ext_observability.alerts.templates import compile_template
from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.promql.nodes import Number
from tests.clock import ManualClock

TOKEN = "an-operators-token-0123456789"
MOUNT = "/ext/observability"

Command = Callable[..., subprocess.CompletedProcess[str]]


class Service:
    """A service that knows what the test says of alerts."""

    def __init__(self, served: Any) -> None:
        self.url: str = served.url
        self.rounds = served.runtime.alerts._make_rounds()
        self.rounds._clock = ManualClock()
        self.rounds.progress = Progress(ticks=9, began_at=-1e6)
        self.rounds.report = Report((GroupReport(RuleGroup("g", "f", ()), []),))
        self.age(4.2)
        object.__setattr__(served.face._endpoint_context, "alerts", lambda: self.rounds)

    def age(self, seconds: float | None) -> None:
        self.rounds.progress.states_at = None if seconds is None else self.rounds._clock.monotonic() - seconds

    def alert(self, name: str, severity: str, state: Any, seconds: float) -> None:
        labels = (("alertname", name), ("severity", severity))
        said = {"summary": "in short", "description": f"[{name}]\n is so"}
        alert = AlertState(labels, 1.0, said, round((wall_seconds() - seconds) * 1000), state)
        self.rule(name, "ok", alerts={labels: alert})

    @property
    def rules(self) -> list[RuleReport]:
        return self.rounds.report.groups[0].rules

    def rule(self, name: str, health: Any, severity: str = "", notes: Sequence[str] = (), **more: Any) -> None:
        rule = AlertingRule(name, "1", Number(1.0), labels={"severity": compile_template(severity)})
        self.rules.append(RuleReport(rule, RuleState(health, **more), list(notes)))


@pytest.fixture
def service(serve: Any) -> Service:
    return Service(serve(FastAPI(), OPERATOR_TOKEN=TOKEN))


@pytest.fixture
def run(invoke_command: Command, service: Service) -> Command:
    """Runs a command with the URL of the service."""
    return lambda *arguments, token=TOKEN: invoke_command(*arguments, "--url", service.url, "--token", token)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.stderr == ""
    return [line.rstrip() for line in done.stdout.splitlines()]


def test_what_fires_comes_first_and_the_worst_of_it(run: Command, service: Service) -> None:
    service.alert("Watchdog", "info", "firing", 7300)
    service.alert("Slow", "warning", "firing", 90_000 * 2)
    service.alert("Late", "critical", "pending", 2400)
    service.alert("Down", "critical", "firing", 700)
    service.alert("Gone", "page", "resolved", 170)
    done = run("alerts")
    assert done.returncode == 1
    assert lines(done) == [
        "severity  alert     state     since   what is the matter",
        "critical  Down      firing    12 min  [Down] is so",
        "warning   Slow      firing    2 d     [Slow] is so",
        "info      Watchdog  firing    2 h     [Watchdog] is so",
        "critical  Late      pending   40 min  [Late] is so",
        "page      Gone      resolved  3 min   [Gone] is so",
        "",
        "2 alerts fire, 1 pending (severity info not counted). Evaluated 4 s ago by the process that answers.",
        "What to do about a built-in alert: GET /runbooks/ALERT.",
    ]


def test_nothing_fires_in_words(run: Command, service: Service) -> None:
    service.rounds.shared.leads, service.rounds.progress.ticks = False, 1
    service.rounds.rules.problems = {"r.yml": RuleFileError("r.yml", 3, "no")}
    done = run("alerts")
    assert done.returncode == 0
    assert lines(done) == [
        "No alert fires, 0 pending. Evaluated 4 s ago by another process. It started a moment ago: nothing begins to "
        "fire or ends yet.",
        "rule file not used: r.yml:3: no",
    ]


def test_alerts_of_severity_info_are_no_trouble(run: Command, service: Service) -> None:
    service.alert("Watchdog", "info", "firing", 1)
    assert run("alerts").returncode == 0


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (None, "Unknown: no rules have been evaluated yet."),
        (300.0, "Unknown: this is how it was. Evaluated 5 min ago by the process that answers."),
    ],
)
def test_what_is_not_known_is_no_answer(run: Command, service: Service, age: float | None, words: str) -> None:
    service.age(age)
    done = run("alerts")
    assert (done.returncode, lines(done)) == (2, [words])


def test_without_the_right_token_there_are_names_and_states(run: Command, service: Service) -> None:
    for _ in range(2):
        service.alert("Down", "critical", "firing", 5)
    for token, words in (
        ("", "give the operator or viewer token with --token"),
        ("x" * 16, "does not accept the token"),
    ):
        done = run("alerts", token=token)
        assert done.returncode == 1
        assert "Down (2)" in done.stdout
        assert "is so" not in done.stdout
        assert "Names and states only" in done.stdout
        assert words in done.stdout


def test_json_is_the_answer_of_the_service(run: Command, service: Service) -> None:
    service.alert("Down", "critical", "firing", 5)
    (alert,) = json.loads(run("alerts", "--json").stdout)["alerts"]
    assert (alert["name"], alert["annotations"]) == ("Down", {"summary": "in short", "description": "[Down]\n is so"})


def test_rules_are_listed_with_what_is_wrong(run: Command, service: Service) -> None:
    service.rule("Fine", "ok", "warning", ["needs 6h, kept 1h"])
    done = run("rules", "list")
    assert done.returncode == 0
    service.rule("Broken", "err", error="it is [bad]")
    done = run("rules", "list")
    assert done.returncode == 1
    assert lines(done) == [
        "severity  rule      state     health  notes",
        "          g",
        "warning     Fine    inactive  ok      needs 6h, kept 1h",
        "            Broken  inactive  err     it is [bad]",
        "",
        "Evaluated 4 s ago by the process that answers.",
    ]
    service.age(None)
    assert run("rules", "list").returncode == 2


def test_nobody_who_knows_alerts_answers(
    invoke_command: Command, serve_bare: Any, serve: Any, free_port: Callable[[], int]
) -> None:
    done = invoke_command("alerts", "--url", serve_bare(FastAPI()).url)
    assert (done.returncode, lines(done)[0].partition(" answers")[2]) == (
        2,
        ", but not about alerts of this extension.",
    )
    assert invoke_command("rules", "list", "--url", f"http://127.0.0.1:{free_port()}").returncode == 2
    closed = serve(FastAPI(), SCRAPE_TOKEN=TOKEN)
    done = invoke_command("alerts", "--url", closed.url)
    assert (done.returncode, "--token" in done.stdout) == (2, True)


def test_rule_files_are_checked_with_file_line_and_reason(invoke_command: Command, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    rule = "groups:\n- name: g\n  rules:\n  - {record: a:b, expr: 'rate(x[6h])'}\n  - alert: A\n    expr: %s\n"
    good.write_text(rule % "a:b offset 6h > 0")
    bad.write_text(rule % "up +")
    done = invoke_command("rules", "check", str(good))
    assert (done.returncode, lines(done)) == (
        0,
        [f"{good}: OK, 1 alerting and 1 recording rules", f"{good}: a:b: needs 6h, kept 1h"],
    )
    done = invoke_command("rules", "check", str(bad), str(good), ORDINAUT_OBS_HISTORY_RETENTION_SECONDS="86400")
    assert done.returncode == 1
    assert lines(done)[0].startswith(f"{bad}:6: expr: ")
    assert lines(done)[1:] == [f"{good}: OK, 1 alerting and 1 recording rules"]
