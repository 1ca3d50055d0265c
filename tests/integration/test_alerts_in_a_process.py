"""Alerts in one process: rule files that change, what is wrong with them, rules in Python, no data, what is shown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ordinaut_ext_observability.alerts import conditions
from ordinaut_ext_observability.alerts.manager import (
    AlertManager,
    AlertRule,
    AlertSeverity,
    database_connectivity_rule,
    high_queue_depth_rule,
)
from ordinaut_ext_observability.alerts.report import RuleReport
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations.system import QueueMetrics
from ordinaut_ext_observability.metrics.exposition import DOTS, OPENMETRICS_END, render_gauges
from ordinaut_ext_observability.promql.functions.values import VALUE_FUNCTIONS
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import load_settings
from ordinaut_ext_observability.web.prometheus_json import format_exponent
from tests.clock import ManualClock

TICK = 15.0
RULE = "groups: [{name: g, rules: [{alert: %s, expr: '1', labels: {severity: info}}]}]"


class Process:
    """A process that shares nothing, its clock moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.runtime = Runtime(load_settings(), self.clock)
        self.alerts = self.runtime.alerts
        self.events: list[tuple[Any, dict[str, Any]]] = []
        self.alerts.rounds._event = lambda event, /, **fields: self.events.append((event, fields))

    async def _tick(self) -> None:
        times: list[int] = []
        self.runtime.history.after_tick = times.append
        await self.runtime.history.take_sample()
        await self.alerts.rounds.evaluate(times[0])

    def tick(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            asyncio.run(self._tick())
            self.clock.advance(TICK)

    def rule(self, name: str) -> RuleReport:
        [rule] = [each for each in self.alerts.rounds.report.rules() if each.rule.name == name]
        return rule

    def states(self) -> dict[str, str]:
        shown = {alert.label("alertname"): alert.state for alert in self.alerts.rounds.report.alerts()}
        return {name: state for name, state in shown.items() if name not in ("Watchdog", "HealthCheckNotHealthy")}


@pytest.fixture
def config(clean_process: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    def write(text: str) -> None:
        path = tmp_path / "observability.yaml"
        path.write_text(text)
        clean_process.setenv("ORDINAUT_OBS_CONFIG", str(path))

    return write


def test_a_changed_rule_file_takes_effect_at_the_next_tick_and_a_bad_one_does_not(
    config: Callable[[str], None], tmp_path: Path
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(RULE % "One")
    config(f"rule_files: [{path}]")
    process = Process()
    process.tick(4)
    assert process.states() == {"One": "firing"} and process.alerts._outcome().status is HealthStatus.HEALTHY
    path.write_text(RULE % "One" + "\nnonsense: 1\n")
    process.tick()
    assert process.states() == {"One": "firing"}
    reason = "the file has no field 'nonsense'; there are groups"
    assert (events.RULE_FILE_REFUSED, {"file": str(path), "line_number": 2, "reason": reason}) in process.events
    outcome = process.alerts._outcome()
    assert outcome.status is HealthStatus.DEGRADED and f"{path}:2: {reason}" in outcome.message
    assert process.alerts.rounds.rules.read_changed(all_files=True) == [f"rule file not used: {path}:2: {reason}"]
    path.write_text(RULE % "Two")
    assert process.alerts.rounds.rules.read_changed(all_files=True) == []
    process.tick()
    assert process.states() == {"Two": "firing"} and process.alerts._outcome().status is HealthStatus.HEALTHY


def test_series_of_rules_that_are_gone_end(config: Callable[[str], None], tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text("groups: [{name: g, rules: [{record: a, expr: '1'}, {record: b, expr: a + 1}]}]")
    config(f"rule_files: [{path}]")
    process = Process()
    process.tick()
    query = "groups: [{name: h, rules: [{record: c, expr: 'a or vector(5)'}, {record: d, expr: 'b or vector(5)'}]}]"
    path.write_text(query)
    process.tick(2)
    values = {
        dict(series.labels)["__name__"]: series.values[-1]
        for series in process.runtime.history.history.select([], 0, 2**53)
        if series is not None
    }
    assert (values["c"], values["d"]) == (5.0, 5.0)


def test_a_rule_that_fails_says_why_and_keeps_no_other_from_being_evaluated(
    config: Callable[[str], None], tmp_path: Path
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text("groups: [{name: g, rules: [{record: a, expr: 'up[5m]'}, {record: b, expr: '1'}]}]")
    config(f"rule_files: [{path}]")
    process = Process()
    process.tick()
    assert process.rule("a").state.health == "err" and process.rule("b").state.health == "ok"
    assert process.rule("a").state.error == "the rule's result is neither a vector nor a scalar"
    assert process.alerts._outcome().message == "rules that fail: a; GET /rules gives the reasons"
    process.clock.advance(60)
    assert "no rules have been evaluated for 75 s" in process.alerts._outcome().message


def test_a_fault_of_ours_in_one_rule_keeps_no_other_from_being_evaluated(
    config: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text("groups: [{name: g, rules: [{alert: Bad, expr: 'floor(vector(1))'}, {alert: Good, expr: '1'}]}]")
    config(f"rule_files: [{path}]")
    monkeypatch.setitem(VALUE_FUNCTIONS, "floor", lambda _: 1 / 0)
    process = Process()
    process.tick(4)
    assert process.states() == {"Good": "firing"}
    assert (process.rule("Bad").state.health, process.rule("Bad").state.error) == (
        *("err", "the extension failed: ZeroDivisionError"),
    )


def test_a_process_that_stops_and_starts_again_ends_no_alert_for_want_of_history(
    config: Callable[[str], None], tmp_path: Path
) -> None:
    path = tmp_path / "rules.yml"
    expression = "count_over_time(ordinaut_observability_settings_problems[1m]) > 2"
    path.write_text(f"groups: [{{name: g, rules: [{{alert: Lasting, expr: '{expression}'}}]}}]")
    config(f"rule_files: [{path}]")
    process = Process()
    process.tick(8)
    asyncio.run(process.alerts._end())
    process.clock.advance(300)
    process.tick(4)
    told = [event.name for event, fields in process.events if fields.get("alert") == "Lasting"]
    assert told == ["alert_firing"] and process.states() == {"Lasting": "firing"}


def test_what_fires_is_told_though_a_slow_store_takes_the_round_beyond_its_deadline(
    config: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(RULE % "One")
    config(f"rule_files: [{path}]")
    process = Process()
    process.tick(2)
    shared, go_on = process.alerts.rounds.shared, threading.Event()

    async def cancelled_round() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await process._tick()
        go_on.set()

    with monkeypatch.context() as patch:
        patch.setattr(shared, "save", lambda *_: go_on.wait(5))
        asyncio.run(cancelled_round())
    process.clock.advance(TICK)
    process.tick()
    assert (events.ALERT_FIRING, "One") in [(event, fields.get("alert")) for event, fields in process.events]


def test_a_rule_that_looks_back_further_than_is_kept_says_so(config: Callable[[str], None], tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(
        "groups: [{name: g, rules: [{record: r, expr: 'sum(rate(up[1m]))'}, {record: long, expr: 'rate(up[6h])'},"
        " {record: kept, expr: 'max_over_time(r[6h])'}, {record: plain, expr: up}]}]"
    )
    config(f"rule_files: [{path}]")
    process = Process()
    process.tick(2)
    incomplete = "incomplete: not enough samples yet"
    assert process.rule("long").notes == ["needs 6h, kept 1h", incomplete]
    assert process.rule("r").notes == process.rule("kept").notes == [incomplete]
    assert process.rule("plain").notes == []
    process.tick(4)
    assert process.rule("r").notes == []


def test_no_data_is_an_alert_where_that_is_set(config: Callable[[str], None]) -> None:
    config("rules: {high_queue_depth: {no_data: alert, for: 30s}, EnqueueLag: {for: 30s}}")
    process = Process()
    process.tick()
    assert process.states() == {"high_queue_depth": "pending"}
    process.tick(3)
    [alert] = [each for each in process.alerts.rounds.report.alerts() if each.label("alertname") == "high_queue_depth"]
    assert alert.state == "firing"
    assert dict(alert.labels) == {"alertname": "high_queue_depth", "reason": "no_data", "severity": "warning"}
    QueueMetrics(process.runtime.metrics.registry).queue_depth.labels().set(5)
    process.tick()
    assert process.states() == {"high_queue_depth": "resolved"}


def test_rules_in_python_are_evaluated_with_the_others(clean_process: pytest.MonkeyPatch) -> None:
    process = Process()
    manager = AlertManager()
    manager.add_rule(high_queue_depth_rule())
    manager.add_rule(database_connectivity_rule())
    manager.add_rule(AlertRule("fails", lambda context: context["nothing"], AlertSeverity.INFO, ""))
    QueueMetrics(process.runtime.metrics.registry).queue_depth.labels().set(250)
    status = [HealthStatus.UNHEALTHY]
    process.runtime.health_monitor.register_check("database", lambda: Outcome(status[0], "it is gone"))
    asyncio.run(process.runtime.health_monitor.run_all_checks())
    process.tick(4)
    alerts = {
        alert.label("alertname"): alert for alert in process.alerts.rounds.report.alerts() if alert.state == "firing"
    }
    assert alerts["database_down"].label("severity") == "critical"
    assert alerts["database_down"].annotations == {"summary": "Database connectivity issue: it is gone"}
    assert "250.0 tasks pending" in alerts["high_queue_depth"].annotations["summary"]
    fails = process.rule("fails").state
    assert (fails.health, fails.error) == ("err", "the condition failed: KeyError")
    status[0] = HealthStatus.HEALTHY
    asyncio.run(process.runtime.health_monitor.run_all_checks())
    process.tick()
    assert process.states()["database_down"] == "resolved"


def test_series_of_alerts_can_be_queried_and_scraped(config: Callable[[str], None], tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text((RULE % "One").replace("severity: info", r'severity: info, text: "a\"b\\n%s"'))
    config(f"rule_files: [{path}]")
    process = Process()
    process.tick(4)
    series = process.alerts.series()
    [labels] = [labels for labels, _ in series["ALERTS"] if labels["alertname"] == "One"]
    assert labels["alertstate"] == "firing"
    history = process.runtime.history.history
    kept = {each.labels for each in history.select([], 0, 2**53) if each is not None}
    assert tuple(sorted({**labels, "__name__": "ALERTS"}.items())) in kept
    for parse, end in ((parse_text, ""), (parse_openmetrics, OPENMETRICS_END)):
        text = "".join(piece for name, of_name in series.items() for piece in render_gauges(name, "Words.", of_name))
        read = {
            (sample.name, tuple(sorted(sample.labels.items()))) for each in parse(text + end) for sample in each.samples
        }
        assert ("ALERTS", tuple(sorted(labels.items()))) in read
        assert len(read) == 2 * len(series["ALERTS"])
    assert "ALERTS__FOR__STATE{" in "".join(render_gauges("ALERTS_FOR_STATE", "", series["ALERTS_FOR_STATE"], DOTS))


def test_a_scrape_shows_the_series_of_alerts(serve: Callable[..., Any], eventually: Callable[..., bool]) -> None:
    served = serve(FastAPI(), HISTORY_INTERVAL_SECONDS="1", ALERTS_SETTLE_SECONDS="0")
    line = 'ALERTS{alertname="Watchdog",alertstate="firing",severity="info"} 1.0'
    assert eventually(lambda: line in served.get("/metrics").text)
    text = served.get("/metrics", params={"name[]": "ALERTS"}).text
    assert text.startswith("# HELP ALERTS ") and "ALERTS_FOR_STATE" not in text
    families = {family.name for family in parse_text(served.get("/metrics").text)}
    assert {"ALERTS", "ALERTS_FOR_STATE", "orchestrator_alerts"} <= families
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    assert "ALERTS" in {each.name for each in parse_openmetrics(served.get("/metrics", headers=headers).text)}
    assert served.internal_errors() == {}


def test_the_history_does_not_wait_for_a_store_that_hangs(
    clean_process: pytest.MonkeyPatch, silent_server: Callable[[], Any]
) -> None:
    clean_process.delenv("ORDINAUT_OBS_STORE")
    clean_process.setenv("REDIS_URL", f"redis://127.0.0.1:{silent_server().port}/0")
    process = Process()
    history, alerts = process.runtime.history, process.alerts
    history.after_tick = alerts.begin_evaluation

    async def ticks() -> None:
        await history.take_sample()
        process.clock.advance(TICK)
        await history.take_sample()
        evaluation = alerts._evaluation
        assert evaluation is not None and not evaluation.done()
        await evaluation

    asyncio.run(ticks())
    assert process.runtime.metrics.alert_ticks_missed.labels().value == 1
    assert alerts.rounds.shared.leads and alerts.rounds.report.groups


def test_a_condition_that_hangs_is_not_asked_again(clean_process: pytest.MonkeyPatch) -> None:
    ends, asked = threading.Event(), []
    manager = AlertManager()
    manager.add_rule(AlertRule("hangs", lambda _: (asked.append(1), ends.wait()), AlertSeverity.INFO, ""))
    process = Process()
    clean_process.setattr(conditions, "_SECONDS", 0.01)

    async def ticks() -> None:
        for _ in range(3):
            await process._tick()
            process.clock.advance(TICK)
        ends.set()

    asyncio.run(ticks())
    assert asked == [1] and process.rule("hangs").state.health == "err"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1e+00"), (0.0, "0e+00"), (-12.5, "-1.25e+01"), (1e21, "1e+21"), (1.5e-7, "1.5e-07"), (100.0, "1e+02")]
    + [(float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN"), (1 / 3, "3.333333333333333e-01")],
)
def test_the_value_of_an_alert_is_written_as_prometheus_writes_it(value: float, text: str) -> None:
    assert format_exponent(value) == text
