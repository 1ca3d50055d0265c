"""Rule files: what is wrong, and in which line. Whether promtool agrees is another test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ordinaut_ext_observability.alerts.builtin import BUILTIN
from ordinaut_ext_observability.alerts.loading import LoadedRules
from ordinaut_ext_observability.alerts.rule_files import MAX_FILE_BYTES, RuleFileError, parse_rules, read_rule_file
from ordinaut_ext_observability.alerts.rules import AlertingRule, RecordingRule

GOOD = """\
groups:
  - name: api
    interval: 1m
    limit: 10
    query_offset: 5s
    labels: {team: core, severity: info}
    rules:
      - record: job:requests:rate5m
        expr: sum by (job) (rate(requests_total[5m]))
        labels: {kind: sum}
      - alert: Slow
        expr: max_over_time(latency_seconds[1h:1m] offset 5m) > 1
        for: 2m30s
        keep_firing_for: 5m
        labels: {severity: warning}
        annotations: {summary: "{{ $value }} s"}
"""


def test_a_file_has_its_groups_and_rules_as_they_are_written() -> None:
    [group] = parse_rules(GOOD, "rules.yml")
    assert (group.name, group.file, group.interval_ms, group.limit, group.query_offset_ms) == (
        *("api", "rules.yml", 60_000),
        *(10, 5_000),
    )
    record, alert = group.rules
    assert isinstance(record, RecordingRule) and isinstance(alert, AlertingRule)
    assert record.labels == {"team": "core", "severity": "info", "kind": "sum"}
    assert {name: str(text) for name, text in alert.labels.items()} == {"team": "core", "severity": "warning"}
    assert (alert.for_ms, alert.keep_firing_for_ms, record.lookback_ms, alert.lookback_ms) == (
        *(150_000, 300_000),
        *(300_000, 3_900_000),
    )


@pytest.mark.parametrize(
    ("line", "text", "wrong_line", "reason"),
    [
        (2, "  - nam: api", 2, "a group has no field 'nam'; there are name, interval, "),
        (
            3,
            "    interval: 1min",
            3,
            "interval: '1min' is no duration; one such as 30s, 5m or 1h30m is accepted, up to 292y",
        ),
        (4, "    limit: ten", 4, "limit must be a whole number"),
        (8, "      - recrd: a", 8, "a rule has no field 'recrd'; there are record, alert, expr, "),
        (8, "      - record: a-b", 8, "'a-b' is no name of a metric"),
        (8, "      - alert: b", 10, ""),
        (9, "        expr: sum(", 9, "expr: parse error: "),
        (9, "        labels: {}", 10, "'labels' stands here twice"),
        (12, "        expr:", 11, "the rule has no 'expr'"),
        (15, "        labels: {a b: c}", 15, "labels: 'a b' is no name of a label"),
        (16, "        annotations: {summary: '{{ $value | nothing }}'}", 16, "annotations: summary: "),
        (16, "        annotations: [", 17, "is not YAML: "),
    ],
)
def test_a_line_that_is_wrong_is_named_with_the_reason(line: int, text: str, wrong_line: int, reason: str) -> None:
    lines = GOOD.splitlines()
    lines[line - 1] = text
    if not reason:
        parse_rules("\n".join(lines), "rules.yml")
        return
    with pytest.raises(RuleFileError) as refused:
        parse_rules("\n".join(lines) + "\n", "rules.yml")
    assert refused.value.line == wrong_line and refused.value.reason.startswith(reason)
    assert str(refused.value) == f"rules.yml:{wrong_line}: {refused.value.reason}"


def test_half_of_a_surrogate_pair_is_refused_whether_yaml_or_we_see_it() -> None:
    with pytest.raises(RuleFileError) as refused:
        parse_rules(GOOD.replace("name: ", 'name: "\\ud800" #', 1), "rules.yml")
    assert refused.value.line == 2


def test_a_rule_that_stands_twice_in_a_file_is_refused() -> None:
    again = GOOD + GOOD.replace("groups:\n", "").replace("name: api", "name: other")
    with pytest.raises(RuleFileError, match="rules.yml:23: there is a rule 'job:requests:rate5m' with these labels"):
        parse_rules(again, "rules.yml")


@pytest.mark.parametrize(
    "content",
    [
        "groups: " + "[" * 100_000,
        "a: &a [x]\n" * 3 + "groups: *a",
        "groups: [{name: a, interval: " + "9" * 5_000 + "s}]",
        "groups: [{name: a, rules: [" + "{alert: a, expr: b, labels: {c: '%s'}}," * 1001 % (*range(1001),) + "]}]",
        b"groups: \xff",
        b"\x00",
    ],
    ids=lambda content: str(content[:20]),
)
def test_a_hostile_file_is_refused(content: str | bytes) -> None:
    with pytest.raises(RuleFileError):
        parse_rules(content, "rules.yml")


def test_a_file_that_cannot_be_read_or_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    with pytest.raises(RuleFileError, match="rules.yml: cannot be read: No such file or directory"):
        read_rule_file(str(path))
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(RuleFileError, match="rules.yml: is larger than 524288 bytes"):
        read_rule_file(str(path))


def names(rules: LoadedRules) -> list[str]:
    return [rule.name for group in rules.groups if group.file != BUILTIN for rule in group.rules]


def test_files_are_read_again_when_they_change_and_a_bad_one_leaves_its_rules_as_they_were(tmp_path: Path) -> None:
    one, other = tmp_path / "1.yml", tmp_path / "2.yml"
    one.write_text("groups: [{name: a, rules: [{alert: One, expr: up}]}]")
    rules = LoadedRules([str(tmp_path / "*.yml")], {})
    assert rules.have_changed()
    rules.read_changed()
    assert names(rules) == ["One"] and not rules.have_changed() and not rules.problems
    other.write_text("groups: [{name: b, rules: [{alert: Two, expr: up}]}]")
    one.write_text("groups: [{name: a, rules: [{alert: One, expr: up(}]}]")
    assert rules.have_changed()
    rules.read_changed()
    assert names(rules) == ["One", "Two"] and not rules.have_changed()
    assert [problem.line for problem in rules.problems.values()] == [1]
    one.unlink()
    rules.read_changed()
    assert names(rules) == ["Two"] and not rules.problems


def test_a_file_that_is_named_and_goes_away_leaves_its_rules_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text("groups: [{name: a, rules: [{alert: One, expr: up}]}]")
    rules = LoadedRules([str(path)], {})
    rules.read_changed()
    os.unlink(path)
    rules.read_changed()
    assert names(rules) == ["One"] and list(rules.problems) == [str(path)]


def test_a_reason_is_a_line_however_long_the_text_that_is_wrong() -> None:
    with pytest.raises(RuleFileError) as refused:
        parse_rules(f"groups: [{{name: a, interval: {'1s' * 100_000}}}]", "rules.yml")
    assert len(str(refused.value)) < 600
