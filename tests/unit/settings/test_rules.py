"""The sections about alert rules in the configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ordinaut_ext_observability.settings.sections import ConfigFile
from ordinaut_ext_observability.settings.config_file import read_config_file
from ordinaut_ext_observability.settings.sections import RuleOverride

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "configuration.md"


def read(folder: Path, text: str) -> tuple[ConfigFile, dict[str, str]]:
    path = folder / "observability.yaml"
    path.write_text(text)
    return read_config_file(ConfigFile, str(path), {})


def test_the_documented_changes_of_rules_are_read(tmp_path: Path) -> None:
    example = DOCUMENTATION.read_text().partition("## Alert rules")[2].split("```")[1].removeprefix("yaml")
    file, problems = read(tmp_path, example)
    assert problems == {}
    assert file.rules == {
        "QueueStalled": RuleOverride.model_validate({"threshold": 600, "for": "10m"}),
        "CacheHitRatioLow": RuleOverride(enabled=False),
        "RedisDown": RuleOverride(no_data="alert"),
    }
    assert file.rule_files == yaml.safe_load(example)["rule_files"]


@pytest.mark.parametrize("duration", ["0", "30s", "5m", "1h30m", "1d", "250ms", "1w2d"])
def test_durations_are_as_prometheus_writes_them(tmp_path: Path, duration: str) -> None:
    file, problems = read(tmp_path, f"rules: {{A: {{for: '{duration}'}}}}")
    assert (file.rules["A"].hold, problems) == (duration, {})


@pytest.mark.parametrize("duration", ["5", "''", "5 m", "30m1h", "-5m", "1.5h", "five minutes", "0x"])
def test_another_duration_is_told_and_the_rest_of_the_rule_takes_effect(tmp_path: Path, duration: str) -> None:
    file, problems = read(tmp_path, f"rules: {{A: {{for: {duration}, threshold: 7}}, B: {{enabled: false}}}}")
    assert problems == {"rules.A.for": "is not a duration as Prometheus writes it, such as 30s, 5m or 1h30m"}
    assert file.rules == {"A": RuleOverride(threshold=7), "B": RuleOverride(enabled=False)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rules: {A: {treshold: 1}}", {"rules.A.treshold": "no such name; there are threshold, for, enabled, no_data"}),
        ("rules: {A: {threshold: high}}", {"rules.A.threshold": "is not a number"}),
        ("rules: {A: {threshold: .inf}}", {"rules.A.threshold": "is not a finite number"}),
        ("rules: {A: 600}", {"rules.A": "must be a mapping with threshold, for, enabled, no_data"}),
        ("rules: [A]", {"rules": "must be a mapping of names to values"}),
        ("rule_files: rules.yaml", {"rule_files": "must be a list"}),
    ],
)
def test_what_is_wrong_is_told_by_its_place(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    assert read(tmp_path, text)[1] == expected
