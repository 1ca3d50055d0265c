"""The built-in alert rules as data: `rules.yaml`, a plain Prometheus rule file.

An alert's expression ends in one comparison with a number, at its top. That number is the alert's threshold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files

from ordinaut_ext_observability.alerts.rules import AlertingRule, Rule, RuleGroup
from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.promql.times import parse_duration
from ordinaut_ext_observability.settings.sections import RuleOverride

BUILTIN = "builtin"
"""The name that stands for a file with the built-in rules."""

_THRESHOLD = re.compile(r"(?P<before>.*[<>=]\s*)(?P<number>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*", re.DOTALL)


@cache
def builtin_groups() -> tuple[RuleGroup, ...]:
    """The groups of the rule file as it is shipped."""
    from ordinaut_ext_observability.alerts.rule_files import parse_rules  # takes YAML: not while the host starts

    return parse_rules(files(__package__).joinpath("rules.yaml").read_text("utf-8"), BUILTIN)


def threshold_of(expression: str) -> float | None:
    """The number that ends an alert's expression, or None where it is not compared with one."""
    match = _THRESHOLD.fullmatch(expression)
    return float(match["number"]) if match is not None else None


def apply_overrides(
    groups: Iterable[RuleGroup], overrides: Mapping[str, RuleOverride]
) -> tuple[tuple[RuleGroup, ...], dict[str, str]]:
    """Groups with the overrides, and what is wrong by the rule's name; what is wrong changes nothing.

    ::

        groups, problems = apply_overrides(builtin_groups(), {"QueueStalled": RuleOverride(threshold=600)})
    """
    groups, problems = tuple(groups), {}
    alerts = {rule.name: rule for group in groups for rule in group.rules if isinstance(rule, AlertingRule)}
    changed: dict[str, Rule | None] = {}
    for name, override in overrides.items():
        rule = alerts.get(name)
        if rule is None:
            with forks_held_off():
                import difflib  # not while the host starts
            close = difflib.get_close_matches(name[:64], alerts, n=1)
            similar = f" (did you mean {close[0]}?)" if close else ""
            problems[name] = f"there is no such built-in rule{similar}"
        elif override.threshold is not None and threshold_of(rule.query) is None:
            problems[name] = "this rule has no threshold; `for`, `enabled` and `no_data` can be set"
        else:
            changed[name] = _overridden(rule, override) if override.enabled else None
    left = [[kept for each in group.rules if (kept := changed.get(each.name, each))] for group in groups]
    found = (replace(group, rules=tuple(rules)) for group, rules in zip(groups, left, strict=True) if rules)
    return tuple(found), problems


def _overridden(rule: AlertingRule, override: RuleOverride) -> AlertingRule:
    rule = replace(rule, no_data=override.no_data == "alert")
    if override.threshold is not None:
        from ordinaut_ext_observability.promql.parse import parse

        query = _THRESHOLD.sub(rf"\g<before>{override.threshold!r}", rule.query, count=1)
        rule = replace(rule, query=query, expression=parse(query))
    return rule if override.hold is None else replace(rule, for_ms=parse_duration(override.hold))
