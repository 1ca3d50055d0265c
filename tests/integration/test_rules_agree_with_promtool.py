"""Rules and states against Prometheus's own: what our evaluator says of a tick, `promtool test rules` confirms.

A file of cases is made from our answers (alerts with their states, times and texts at every tick) and given to promtool
with the same rules and series.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from ordinaut_ext_observability.alerts import builtin
from ordinaut_ext_observability.alerts.evaluation import Engine
from ordinaut_ext_observability.alerts.rule_files import RuleFileError, parse_rules, read_rule_file
from ordinaut_ext_observability.alerts.rules import AlertingRule, RuleGroup
from ordinaut_ext_observability.alerts.states import samples_of
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, Labels
from ordinaut_ext_observability.promql.nodes import selectors_of
from ordinaut_ext_observability.settings.parts import HistorySettings
from tests.clock import ManualClock
from tests.promql.conformance import Store, _load

FOLDER = Path(__file__).parents[1] / "alerts"
TICK = 15
SAMPLE_MS = TICK * 1000 - 1
"""No sample is then at the very beginning of a range, which Prometheus 2 includes in it and Prometheus 3 does not."""
HOST_RULES = Path(os.environ.get("ORDINAUT_HOST_DIR", "no-checkout")) / "ops/prometheus/alert_rules.yml"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not on PATH")
        pytest.skip("promtool is not on PATH")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300, check=False)


class Given(History):
    """Series of a test, and what rules record of them."""

    def __init__(self, series: dict[str, str]) -> None:
        super().__init__(ManualClock(), retention_seconds=3600, max_series=10)
        self.store = Store()
        _load(self.store, f"{SAMPLE_MS}ms", [f"{name} _ {values}" for name, values in series.items()], nhcb=False)

    @property
    def kept_since_ms(self) -> int:
        return -(10**12)

    def since_ms(self, names):
        return self.kept_since_ms

    def select(self, matchers, start_ms, end_ms):
        yield from self.store.select(matchers, start_ms, end_ms)
        yield from super().select(matchers, start_ms, end_ms)


def series_text(labels: Labels) -> str:
    values = dict(labels)
    return f"{values.pop(NAME)}{{{', '.join(f'{name}={json.dumps(value)}' for name, value in values.items())}}}"


def alerts_with_exact_texts(groups: tuple[RuleGroup, ...]) -> set[str]:
    """Alerts whose values are the same in Prometheus 2: not those of ranges over recorded series.

    Recorded samples are at the ticks, where such a range begins.
    """
    recorded: set[str] = set()
    inexact: set[str] = set()
    exact: set[str] = set()
    for rule in (rule for group in groups for rule in group.rules):
        is_inexact = rule.names_read & inexact or (rule.lookback_ms and rule.names_read & recorded)
        if not isinstance(rule, AlertingRule):
            (inexact if is_inexact else recorded).add(rule.name)
        elif not is_inexact:
            exact.add(rule.name)
    return exact


def as_promtool_says(groups: tuple[RuleGroup, ...], series: dict[str, str], ticks: int) -> Iterator[dict[str, Any]]:
    """The expectations of promtool at each tick: all series of alerts, and each alert with its texts."""
    history = Given(series)
    engine = Engine(history, HistorySettings())
    engine.load([replace(group, interval_ms=0) for group in groups], 0)  # promtool evaluates all at each tick
    alerting = alerts_with_exact_texts(groups)
    for tick in range(ticks):
        for _ in engine.evaluate_due(tick * TICK * 1000, alerts=True):
            pass
        active = [alert for state in engine.states.values() for alert in state.active]
        samples = [sample for alert in active for sample in samples_of(alert)]
        yield {
            "expr": '{__name__=~"ALERTS.*"}',
            "eval_time": f"{tick * TICK}s",
            "exp_samples": [{"labels": series_text(labels), "value": value} for labels, value in samples],
        }
        for name in alerting:
            yield {
                "eval_time": f"{tick * TICK}s",
                "alertname": name,
                "exp_alerts": [
                    {
                        "exp_labels": {label: value for label, value in alert.labels if label != "alertname"},
                        "exp_annotations": dict(alert.annotations),
                    }
                    for alert in active
                    if alert.state == "firing" and dict(alert.labels)["alertname"] == name
                ],
            }


def check(tmp_path: Path, rules: Path, series: dict[str, str], ticks: int) -> list[dict[str, Any]]:
    """Have promtool confirm every tick; returns what was expected."""
    expected = list(as_promtool_says(read_rule_file(str(rules)), series, ticks))
    seen = fired(expected)  # of the others, the series of alerts say enough
    case = {
        "interval": f"{SAMPLE_MS}ms",
        "input_series": [{"series": name, "values": f"_ {values}"} for name, values in series.items()],
        "promql_expr_test": [each for each in expected if "expr" in each],
        "alert_rule_test": [each for each in expected if each.get("alertname") in seen],
    }
    path = tmp_path / "cases.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": f"{TICK}s", "tests": [case]}))
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, (done.stdout + done.stderr)[:5000]
    return expected


def fired(expected: list[dict[str, Any]]) -> set[str]:
    return {each["alertname"] for each in expected if each.get("exp_alerts")}


BUILTIN = [
    pytest.param(case, id=f"{path.name.partition('.')[0]}: {case['name']}")
    for path in sorted((FOLDER / "builtin").glob("*.test.yaml"))
    for case in yaml.safe_load(path.read_text())["tests"]
]
if not os.environ.get("EVERY_CASE"):
    BUILTIN = BUILTIN[::5]  # each takes promtool a second; the others are in tests/long/test_every_case.py


@pytest.mark.parametrize("case", BUILTIN)
def test_a_built_in_rule_has_the_states_that_promtool_finds(tmp_path: Path, case: dict[str, Any]) -> None:
    series = {each["series"]: each["values"] for each in case["input_series"] or ()}
    rules = yaml.safe_load((files(builtin) / "rules.yaml").read_text())["groups"]
    if not os.environ.get("EVERY_CASE"):  # those beside them, which take both evaluators most of the time
        asked = {each["alertname"] for each in case["alert_rule_test"]}
        rules = [group for group in rules if asked & {rule.get("alert", "recorded") for rule in group["rules"]}]
    rule_file = tmp_path / "rules.yaml"
    rule_file.write_text(yaml.safe_dump({"groups": rules}))
    last = max(parse_seconds(each["eval_time"]) for each in case["alert_rule_test"])
    # Two minutes to each tick of a long case would take promtool minutes.
    check(tmp_path, rule_file, series, min(last // TICK + 1, 200))


def parse_seconds(text: str) -> int:
    from tests.promql.conformance import duration_ms

    return duration_ms(text) // 1000


def random_series(rules: Path, seed: int) -> dict[str, str]:
    """Series for every metric that rules ask about: such that their labels match, rising, falling and at rest."""
    chosen = random.Random(seed)
    series: dict[str, str] = {}
    for group in read_rule_file(str(rules)):
        for rule in group.rules:
            for selector in selectors_of(rule.expression):
                labels = {each.name: each.value if each.operator == "=" else "503" for each in selector.matchers}
                name = labels.pop(NAME)
                for bound in ("1", "5", "+Inf") if name.endswith("_bucket") else ("",):
                    label = {**labels, **({"le": bound} if bound else {}), "instance": chosen.choice("ab")}
                    step = chosen.choice([0, 0, 1, 3, 10])
                    parts = [f"{chosen.randrange(2)}{chosen.choice('+-')}{step}x{chosen.randrange(60)}"]
                    parts += [
                        f"{chosen.choice([0, 1, 60, 400])}+{chosen.randrange(9)}x{chosen.randrange(60)}"
                        for _ in range(2)
                    ]
                    series[series_text(tuple(sorted({**label, NAME: name}.items())))] = " ".join(parts)
    return series


@pytest.mark.parametrize("seed", range(3))
def test_rules_of_the_host_have_the_states_that_promtool_finds(tmp_path: Path, seed: int) -> None:
    if not HOST_RULES.exists():
        pytest.skip("there is no checkout of the host")
    assert fired(check(tmp_path, HOST_RULES, random_series(HOST_RULES, seed), 120))


@pytest.mark.parametrize("seed", range(8))
def test_every_kind_of_timing_is_as_promtool_has_it(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    series = {
        f'up{{job="{job}", instance="{instance}"}}': " ".join(
            chosen.choice(["0", "1", "_", "0 0 0", "0 0 0 0 0 0", "1 1 1", "stale"]) for _ in range(20)
        )
        for job, instance in (("api", "a"), ("api", "b"), ("worker", "a"))
    }
    check(tmp_path, FOLDER / "timing.yml", series, 40)


RULE = "{alert: A, expr: up == 0%s}"
FILES = {
    "empty": "",
    "no groups": "groups:",
    "groups is no list": "groups: {}",
    "unknown field at the top": "groups: []\nrules: []",
    "no name": "groups: [{rules: []}]",
    "number as name": "groups: [{name: 5, rules: []}]",
    "name twice": "groups: [{name: a}, {name: a}]",
    "unknown field of a group": "groups: [{name: a, intervall: 5s}]",
    "field twice": "groups: [{name: a, name: b}]",
    "interval": "groups: [{name: a, interval: 1m30s, limit: 5}]",
    "interval of zero": "groups: [{name: a, interval: 0}]",
    "interval without a unit": "groups: [{name: a, interval: 30}]",
    "interval in the wrong order": "groups: [{name: a, interval: 30s1m}]",
    "interval too long": "groups: [{name: a, interval: 300y}]",
    "limit is text": "groups: [{name: a, limit: many}]",
    "limit is quoted": 'groups: [{name: a, limit: "5"}]',
    "alert and record": "groups: [{name: a, rules: [{alert: A, record: b, expr: up}]}]",
    "neither": "groups: [{name: a, rules: [{expr: up}]}]",
    "null as alert": "groups: [{name: a, rules: [{alert: , record: b, expr: up}]}]",
    "no expression": "groups: [{name: a, rules: [{alert: A}]}]",
    "number as expression": "groups: [{name: a, rules: [{alert: A, expr: 1}]}]",
    "range as expression": 'groups: [{name: a, rules: [{alert: A, expr: "up[5m]"}]}]',
    "bad expression": 'groups: [{name: a, rules: [{alert: A, expr: "sum(up"}]}]',
    "wrong type": 'groups: [{name: a, rules: [{alert: A, expr: "rate(up)"}]}]',
    "name of a metric": "groups: [{name: a, rules: [{record: 'a b', expr: up}]}]",
    "record with for": "groups: [{name: a, rules: [{record: b, expr: up, for: 5m}]}]",
    "record with for of zero": "groups: [{name: a, rules: [{record: b, expr: up, for: 0s}]}]",
    "record with annotations": "groups: [{name: a, rules: [{record: b, expr: up, annotations: {c: d}}]}]",
    "record with empty annotations": "groups: [{name: a, rules: [{record: b, expr: up, annotations: {}}]}]",
    "record with template": "groups: [{name: a, rules: [{record: b, expr: up, labels: {c: '{{'}}]}]",
    **{
        text: f"groups: [{{name: a, rules: [{RULE % f', {text}'}]}}]"
        for text in (
            "for: 5m",
            "for: 5",
            "for: -5m",
            "for: 1.5h",
            "keep_firing_for: 1h",
            "keep_firing_for: soon",
            "labels: {severity: 5, on: true}",
            "labels: {__name__: b}",
            "labels: {'a-b': c}",
            "labels: {'': c}",
            "labels: [a]",
            "labels: {a: [b]}",
            "labels: {a: '{{ $value }}'}",
            "labels: {a: '{{ $value'}",
            "annotations: {a: '{{ $labels.job }} {{ $value | humanize }}'}",
            "annotations: {a: '{{ nothing }}'}",
            "annotations: {a: '{{ if }}'}",
            "annotations: {__name__: b}",
            "annotations: {'a.b': c}",
            "severity: page",
        )
    },
    "not YAML": "groups: [",
    "tab": "groups:\n\t- name: a",
    "text": "hello",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_rule_file_is_refused_where_promtool_refuses_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(content)
    done = promtool("check", "rules", str(path))
    try:
        parse_rules(content, "rules.yml")
    except RuleFileError as error:
        assert done.returncode != 0, error
    else:
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [FOLDER / "timing.yml", HOST_RULES], ids=lambda path: path.name)
def test_a_rule_file_has_as_many_rules_as_promtool_finds(path: Path) -> None:
    if not path.exists():
        pytest.skip("there is no checkout of the host")
    rules = sum(len(group.rules) for group in read_rule_file(str(path)))
    assert f"{rules} rules found" in promtool("check", "rules", "--lint=none", str(path)).stdout
