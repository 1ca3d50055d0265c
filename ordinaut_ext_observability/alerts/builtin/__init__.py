"""The built-in alert rules and their runbooks as data: `rules.yaml`, a plain Prometheus rule file, and `runbooks.yaml`.

An alert's expression ends in one comparison with a number, at its top. That number is the alert's threshold.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter

from ordinaut_ext_observability.alerts.rule_files import YAML_LOADER
from ordinaut_ext_observability.settings.rules import RuleOverride

Groups = list[dict[str, Any]]
"""The groups of a rule file, as YAML has them."""

_THRESHOLD = re.compile(r"(?P<before>.*[<>=]\s*)(?P<number>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*", re.DOTALL)


class Runbook(NamedTuple):
    """Help for whoever gets an alert."""

    meaning: str
    """Text about what is the matter, and what it leads to."""
    check: list[str]
    """Text about where to look."""
    mend: list[str]
    """Text about what to do."""


@cache
def builtin_rules_text() -> str:
    """The rule file as it is shipped, comments included."""
    return _read("rules.yaml")


def builtin_groups(overrides: Mapping[str, RuleOverride] | None = None) -> tuple[Groups, dict[str, str]]:
    """The groups of the rule file with these overrides, and what is wrong with those by the rule's name.

    ::

        groups, problems = builtin_groups({"QueueStalled": RuleOverride(threshold=600)})
    """
    return apply_overrides(_data(builtin_rules_text())["groups"], overrides or {})


@cache
def builtin_runbooks() -> dict[str, Runbook]:
    """The runbook of each built-in alert, by the alert's name."""
    return TypeAdapter(dict[str, Runbook]).validate_python(_data(_read("runbooks.yaml")))


def threshold_of(expression: str) -> float | None:
    """The number that ends an alert's expression, or None where it is not compared with one."""
    match = _THRESHOLD.fullmatch(expression)
    return float(match["number"]) if match is not None else None


def apply_overrides(groups: Groups, overrides: Mapping[str, RuleOverride]) -> tuple[Groups, dict[str, str]]:
    """New groups with the overrides, and what is wrong by the rule's name; what is wrong changes nothing."""
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    problems = {}
    changed: dict[str, dict[str, Any]] = {}
    for name, override in overrides.items():
        rule = alerts.get(name)
        if rule is None:
            problems[name] = _unknown(name, alerts)
        elif override.threshold is not None and threshold_of(rule["expr"]) is None:
            problems[name] = "this rule has no threshold; `for`, `enabled` and `no_data` can be set"
        else:
            changed[name] = _overridden(rule, override) if override.enabled else {}
    result = [
        {**group, "rules": [rule for each in group["rules"] if (rule := changed.get(each.get("alert", ""), each))]}
        for group in groups
    ]
    return [group for group in result if group["rules"]], problems


def _overridden(rule: dict[str, Any], override: RuleOverride) -> dict[str, Any]:
    rule = dict(rule)
    if override.threshold is not None:
        rule["expr"] = _THRESHOLD.sub(rf"\g<before>{override.threshold!r}", rule["expr"], count=1)
    if override.hold is not None:
        rule["for"] = override.hold
    return rule


def _unknown(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:64], known, n=1)
    return f"there is no such built-in rule (did you mean {close[0]}?)" if close else "there is no such built-in rule"


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _data(text: str) -> Any:
    return yaml.load(text, YAML_LOADER)  # noqa: S506 - it is safe, and in C where that is there
