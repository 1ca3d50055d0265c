"""The built-in alert rules: Prometheus's own tools, what is counted, and what people are told."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ordinaut_ext_observability.alerts import builtin
from ordinaut_ext_observability.alerts.builtin import (
    apply_overrides,
    builtin_groups,
    threshold_of,
)
from ordinaut_ext_observability.alerts.rule_files import parse_rules
from ordinaut_ext_observability.metrics.declarations import PARTS
from ordinaut_ext_observability.metrics.declare import declarations_of
from ordinaut_ext_observability.promql.nodes import Binary, MatrixSelector, Number, VectorSelector
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.settings.sections import RuleOverride

RULES_FILE = Path(builtin.__file__).with_name("rules.yaml")
CASES = sorted((Path(__file__).parents[1] / "alerts" / "builtin").glob("*.test.yaml"))
RULES = [rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}

RAW_SECONDS, RECORDED_SECONDS = 3600, 3 * 86_400
"""Seconds for which history keeps what was sampled, and what rules recorded."""


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not on PATH")
        pytest.skip("promtool is not on PATH")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rule_file() -> None:
    promtool("check", "rules", str(RULES_FILE))


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.name.removesuffix(".test.yaml"))
def test_each_alert_waits_fires_and_resolves_in_promtool(cases: Path, tmp_path: Path) -> None:
    text = cases.read_text()
    if "promql_expr_test" in text or os.environ.get("EVERY_CASE"):  # or these ask for all alerts there are
        promtool("test", "rules", str(cases))
        return
    # promtool evaluates all rules at each step: with the groups of these alerts alone it takes a fifth of the time.
    alerts = {tick["alertname"] for case in yaml.safe_load(text)["tests"] for tick in case["alert_rule_test"]}
    groups = [
        group
        for group in yaml.safe_load(RULES_FILE.read_text())["groups"]
        if alerts & {rule.get("alert", "recorded") for rule in group["rules"]}
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    alone = tmp_path / cases.name
    alone.write_text(text.replace(os.path.relpath(RULES_FILE, cases.parent), "rules.yaml"))
    promtool("test", "rules", str(alone))


def test_each_alert_is_seen_silent_and_firing() -> None:
    seen = {True: set(), False: set()}
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for tick in case["alert_rule_test"]:
                seen["exp_alerts" in tick].add(tick["alertname"])
    assert seen == {True: set(ALERTS), False: ALERTS.keys() - {"Watchdog"}}


def nodes(node: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(node):
        yield node
        for field in dataclasses.fields(node):
            yield from nodes(getattr(node, field.name))
    elif isinstance(node, tuple):
        for each in node:
            yield from nodes(each)


def named(selector: VectorSelector) -> tuple[str, set[str]]:
    """The name of the metric that is asked for, and the labels."""
    (name,) = (each.value for each in selector.matchers if each.name == "__name__")
    return name, {each.name for each in selector.matchers} - {"__name__"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_metrics_and_labels_that_there_are_for_as_long_as_they_are_kept(rule: dict[str, Any]) -> None:
    declared = {each.name: each for part in PARTS for _, each in declarations_of(part)}
    tree = list(nodes(parse(rule["expr"])))
    for selector in (node for node in tree if isinstance(node, VectorSelector)):
        name, labels = named(selector)
        if name in RECORDED:
            continue
        base = name
        if name not in declared:
            base, _, suffix = name.rpartition("_")
            assert suffix in {"bucket", "count", "sum"} and declared[base].kind == "histogram"
        assert labels <= {*declared[base].label_names, "le"}
    for matrix in (node for node in tree if isinstance(node, MatrixSelector)):
        kept = RECORDED_SECONDS if named(matrix.selector)[0] in RECORDED else RAW_SECONDS
        assert matrix.range_ms <= kept * 1000


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_ends_in_its_threshold_and_another_can_take_its_place(alert: str) -> None:
    expression = ALERTS[alert]["expr"]
    groups, problems = apply_overrides(builtin_groups(), {alert: RuleOverride(threshold=123.5)})
    if alert == "Watchdog":
        assert "has no threshold" in problems[alert]
        return
    [overridden] = [rule for group in groups for rule in group.rules if rule.name == alert]
    before, after = parse(expression), overridden.expression
    assert isinstance(before, Binary) and before.operator in {">", "<", ">=", "<=", "==", "!="} and not problems
    assert isinstance(before.right, Number) and before.right.value == threshold_of(expression)
    assert repr(after) == repr(parse(overridden.query)) == repr(dataclasses.replace(before, right=Number(123.5)))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_tells_people_what_is_the_matter(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description"} and rule["annotations"]["description"].endswith(".")


def test_an_override_changes_its_rule_alone_and_keeps_the_file_as_it_was() -> None:
    overrides = {
        "QueueStalled": RuleOverride.model_validate({"threshold": 600, "for": "1m"}),
        "Watchdog": RuleOverride(enabled=False),
    }
    groups, problems = apply_overrides(builtin_groups(), overrides)
    rules, shipped = (
        {rule.name: rule for group in each for rule in group.rules} for each in (groups, builtin_groups())
    )
    assert problems == {} and "Watchdog" not in rules
    assert rules["QueueStalled"].for_ms == 60_000 and threshold_of(rules["QueueStalled"].query) == 600
    assert {name for name in shipped if rules.get(name) is not shipped[name]} == {"QueueStalled", "Watchdog"}


def test_a_group_whose_last_rule_is_disabled_goes_too() -> None:
    groups = parse_rules("groups: [{name: one, rules: [{alert: A, expr: a > 1}]}]", "")
    assert apply_overrides(groups, {"A": RuleOverride(enabled=False)}) == ((), {})


def test_an_override_of_a_rule_that_is_not_there_names_a_similar_one() -> None:
    groups, problems = apply_overrides(
        builtin_groups(), {"QueueStaled": RuleOverride(enabled=False), "x": RuleOverride()}
    )
    assert problems == {
        "QueueStaled": "there is no such built-in rule (did you mean QueueStalled?)",
        "x": "there is no such built-in rule",
    }
    assert groups == builtin_groups()
