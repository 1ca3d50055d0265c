"""The files an operator deploys: what Prometheus's and Alertmanager's own tools say of them, and what they ask for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ordinaut_ext_observability.alerts.builtin import builtin_groups, threshold_of
from ordinaut_ext_observability.alerts.rule_files import parse_rules
from ordinaut_ext_observability.alerts.rules import AlertingRule
from ordinaut_ext_observability.assets.data import read_definitions
from ordinaut_ext_observability.assets.export import exported_files, write_files
from ordinaut_ext_observability.metrics.declarations import PARTS
from ordinaut_ext_observability.metrics.declare import declarations_of
from ordinaut_ext_observability.promql.nodes import Aggregation, Node, VectorSelector, children
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.settings.sections import RuleOverride

FILES = exported_files({})
RULE_FILES = [name for name in FILES if name.startswith("prometheus/rules/")]
BUILTIN = {rule.name: rule for group in builtin_groups() for rule in group.rules}
SLOS = read_definitions("slos.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported")
    write_files(path, FILES)
    return path


def run(name: str, *arguments: object) -> None:
    program = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not on PATH")
        pytest.skip(f"{name} is not on PATH")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tools_that_read_them_accept_configuration_and_rules(folder: Path) -> None:
    run("promtool", "check", "config", folder / "prometheus/prometheus.yml")
    run("promtool", "check", "rules", *(folder / name for name in RULE_FILES))
    run("amtool", "check-config", folder / "alertmanager/alertmanager.yml")
    run("amlint", "check", folder / "alertmanager/alertmanager.yml")


def test_the_command_writes_them_with_the_changes_of_the_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "observability.yaml").write_text("rules: {QueueStalled: {threshold: 600}}")
    monkeypatch.setenv("ORDINAUT_OBS_CONFIG", str(tmp_path / "observability.yaml"))
    run("ordinaut-observability", "export", tmp_path / "out", "--url", "https://ordinaut.example.org/")
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == set(FILES)
    rules = (tmp_path / "out/prometheus/rules/ordinaut.yml").read_text()
    assert "> 600.0" in rules and "https://ordinaut.example.org/ext/observability/runbooks/QueueStalled" in rules


def rules_of(name: str) -> dict[str, Any]:
    return {rule.name: rule for group in parse_rules(FILES[name], name) for rule in group.rules}


def test_the_built_in_rules_are_written_as_the_process_evaluates_them() -> None:
    written = parse_rules(FILES["prometheus/rules/ordinaut.yml"], "builtin")
    for ours, theirs in zip(builtin_groups(), written, strict=True):
        assert (ours.name, ours.interval_ms) == (theirs.name, theirs.interval_ms)
        for rule, again in zip(ours.rules, theirs.rules, strict=True):
            assert (rule.name, rule.query) == (again.name, again.query)
            if isinstance(rule, AlertingRule):
                assert rule.for_ms == again.for_ms
                assert {**rule.labels, **rule.annotations}.keys() | {"runbook_url"} == {
                    **again.labels,
                    **again.annotations,
                }.keys()
    changed = exported_files({"Watchdog": RuleOverride(enabled=False)})["prometheus/rules/ordinaut.yml"]
    assert "Watchdog" not in changed


def test_objectives_and_built_in_alerts_agree_on_what_burns_too_fast() -> None:
    generated = rules_of("prometheus/rules/slo.yml")
    for slo in SLOS["slos"]:
        assert slo["runbook"] in BUILTIN
        for window in SLOS["windows"]:
            alert = f"{slo['alert']}{window['name']}"
            rule = BUILTIN.get(alert) or generated[alert]
            assert threshold_of(rule.query) == pytest.approx(window["factor"] * (1 - slo["objective"]))
            assert f":ratio{window['long']}" in rule.query and f":ratio{window['short']}" in rule.query


MINUTES = {"5m": 5, "15m": 15, "30m": 30, "1h": 60, "2m": 2, "6h": 360}


@pytest.mark.parametrize("window", SLOS["windows"], ids=lambda window: window["name"])
def test_each_burn_rate_fires_above_its_limit_only_and_ends_soon_after(window: dict[str, Any], tmp_path: Path) -> None:
    written = [group for name in RULE_FILES[1:] for group in yaml.safe_load(FILES[name])["groups"]]
    rules = [
        rule
        for group in written
        for rule in group["rules"]
        if ":ratio" in rule.get("record", "") or "Burn" in rule.get("alert", "")
    ]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "slo", "interval": "1m", "rules": rules}]})
    )
    fired, short = MINUTES[window["for"]] + 2, MINUTES[window["short"]]
    tests = []
    for times_the_limit, silent_after, expected in ((0.9, 0, 0), (1.1, 0, 1), (1.1, short, 0)):
        series, end = [], fired + silent_after
        for slo in SLOS["slos"]:
            share = times_the_limit * window["factor"] * (1 - slo["objective"])
            bad, every = (
                slo[which] if slo[which].startswith("ordinaut:") else f"ordinaut:{slo['series']}_{which}:rate5m"
                for which in ("bad", "all")
            )
            series.append({"series": bad, "values": f"{share}x{fired} 0x{short}"})
            series.append({"series": every, "values": f"1x{fired + short + 1}"})
        expressions = [
            {
                "expr": f'count(ALERTS{{alertname="{slo["alert"]}{window["name"]}",alertstate="firing"}}) or vector(0)',
                "eval_time": f"{end}m",
                "exp_samples": [{"labels": "{}", "value": expected}],
            }
            for slo in SLOS["slos"]
        ]
        tests.append({"interval": "1m", "input_series": series, "promql_expr_test": expressions})
    cases = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases))
    run("promtool", "test", "rules", tmp_path / "cases.yaml")


UNITS = {"short", "s", "percentunit", "bytes", "Bps", "cps", "ops", "reqps"}
"""Those of Grafana's units that are used."""

DECLARED = {each.name: each for part in PARTS for _, each in declarations_of(part)}
DASHBOARDS = {name: json.loads(text) for name, text in FILES.items() if name.startswith("grafana/dashboards/")}
PANELS = [(board["uid"], panel) for board in DASHBOARDS.values() for panel in board["panels"] if panel["type"] != "row"]
RECORDED = {
    rule["record"]
    for name in RULE_FILES
    for group in yaml.safe_load(FILES[name])["groups"]
    for rule in group["rules"]
    if "record" in rule
}
FOREIGN = {
    **dict.fromkeys(("up", "process_cpu_seconds_total", "process_resident_memory_bytes"), {"job", "instance"}),
    "ALERTS": {"alertname", "alertstate", "severity"},
}
"""Series of Prometheus itself and of prometheus_client, with the labels that count."""


def as_asked(expression: str, released: int = 0) -> str:
    """An expression of a panel as Grafana asks it, all of the variables chosen."""
    for variable, value in (("$__rate_interval", "1m"), ("$__range", "5m"), ("$released", str(released))):
        expression = expression.replace(variable, value)
    return re.sub(r"\$(job|instance)", ".*", expression)


def labels_asked_for(node: Node) -> Iterator[tuple[str, set[str]]]:
    """Names of the metrics below a node, each with the labels that the query names of it."""
    grouping = set(node.grouping) if isinstance(node, Aggregation) and not node.without else set()
    if isinstance(node, VectorSelector):
        found = {matcher.name: matcher.value for matcher in node.matchers}
        yield found.pop("__name__"), set(found)
    for child in children(node):
        for name, labels in labels_asked_for(child):
            yield name, labels | grouping


def check_names(expression: str) -> None:
    for name, labels in labels_asked_for(parse(expression)):
        if name in RECORDED:
            assert labels == set()
            continue
        if name in FOREIGN:
            assert labels <= FOREIGN[name]
            continue
        base = name if name in DECLARED else name.rpartition("_")[0]
        assert base == name or (
            name.rpartition("_")[2] in {"bucket", "count", "sum"} and DECLARED[base].kind == "histogram"
        )
        assert labels <= {*DECLARED[base].label_names, "le", "job", "instance"}, (name, labels)


@pytest.mark.parametrize("name", RULE_FILES)
def test_rules_ask_for_metrics_and_labels_that_there_are(name: str) -> None:
    for rule in rules_of(name).values():
        check_names(rule.query)


@pytest.mark.parametrize("board", DASHBOARDS.values(), ids=lambda board: board["uid"])
def test_panels_ask_for_metrics_and_labels_that_there_are_and_their_legends_name_those(board: dict[str, Any]) -> None:
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expression = as_asked(target["expr"])
            check_names(expression)
            legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert legend <= set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression)))), expression
    for annotation in board["annotations"]["list"]:
        check_names(annotation["expr"])


def test_dashboards_can_be_found_and_their_panels_have_places_units_descriptions_and_runbooks() -> None:
    uids = [board["uid"] for board in DASHBOARDS.values()]
    assert len(set(uids)) == len(uids) == 7
    assert {
        "orchestrator-overview": "Ordinaut - Overview",
        "system-overview": "Ordinaut - System Overview",
    }.items() <= {board["uid"]: board["title"] for board in DASHBOARDS.values()}.items()
    for board in DASHBOARDS.values():
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            x, y, w, h = (panel["gridPos"][name] for name in "xywh")
            cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
            assert x + w <= 24 and not cells & taken, panel["title"]
            taken |= cells
    for _, panel in PANELS:
        assert panel["description"].endswith(".") and panel["title"] and panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert {link["url"].rpartition("/")[2] for link in panel["links"]} <= set(BUILTIN)
        over_time = panel["type"] == "timeseries"
        assert all(target["exemplar"] == (over_time and "_bucket" in target["expr"]) for target in panel["targets"])
