"""Rule files for a Prometheus: the built-in rules as the process evaluates them, and objectives with their burn rates.

An objective is an entry of `definitions/slos.yaml`. Each has an alert for every pair of windows there; those that are
built-in are not made a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from ordinaut_ext_observability.alerts.builtin import apply_overrides, builtin_groups
from ordinaut_ext_observability.alerts.rules import AlertingRule, Rule, show_duration
from ordinaut_ext_observability.alerts.runbooks import link_runbooks
from ordinaut_ext_observability.assets.data import read_definitions
from ordinaut_ext_observability.settings.sections import RuleOverride

_BUDGET_WINDOW = "30d"
_MIN_EVENTS = 0.33
"""Events that a window asks for, or it says nothing: 20, as a sum of rates per second taken once a minute."""


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block, as people do."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def to_yaml(data: Any, comment: str) -> str:
    """YAML with a comment before it."""
    return f"# {comment}\n" + yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=1_000, allow_unicode=True)


def builtin_rules(overrides: Mapping[str, RuleOverride], url: str) -> str:
    """The built-in rules with the changes of a configuration file, as a rule file; `url`: of our endpoints."""
    groups = [
        {"name": group.name}
        | ({"interval": show_duration(group.interval_ms)} if group.interval_ms else {})
        | {"rules": list(map(_as_written, group.rules))}
        for group in link_runbooks(apply_overrides(builtin_groups(), overrides)[0], url)
    ]
    return to_yaml({"groups": groups}, "Generated. The rules as the extension evaluates them: docs/alerts-builtin.md.")


def _as_written(rule: Rule) -> dict[str, Any]:
    if not isinstance(rule, AlertingRule):
        return {"record": rule.name, "expr": rule.query} | ({"labels": dict(rule.labels)} if rule.labels else {})
    durations = {"for": rule.for_ms, "keep_firing_for": rule.keep_firing_for_ms}
    return {
        "alert": rule.name,
        "expr": rule.query,
        **{name: show_duration(value) for name, value in durations.items() if value},
        "labels": {name: str(label) for name, label in rule.labels.items()},
        "annotations": {name: str(text) for name, text in rule.annotations.items()},
    }


def slo_rules(url: str) -> str:
    """Recorded ratios, budgets and burn-rate alerts of every objective, as a rule file; `url`: of our endpoints."""
    defined = read_definitions("slos.yaml")
    existing = {rule.name for group in builtin_groups() for rule in group.rules}
    groups = [
        {
            "name": f"ordinaut-slo-{slo['series'].replace('_', '-')}",
            "interval": "1m",  # the built-in ratios are taken as often, and windows count on it
            "rules": [*_recorded(slo, defined["windows"], existing), *_alerts(slo, defined["windows"], existing, url)],
        }
        for slo in defined["slos"]
    ]
    return to_yaml({"groups": groups}, "Generated from the list of objectives: docs/assets.md.")


def _recorded(slo: Mapping[str, Any], windows: Iterable[Mapping[str, Any]], existing: set[str]) -> Iterator[Any]:
    series = f"ordinaut:{slo['series']}"
    rates = {"bad": slo["bad"], "all": slo["all"]}
    for name, query in rates.items():
        if query not in existing:
            rates[name] = f"{series}_{name}:rate5m"
            yield {"record": rates[name], "expr": query}
    ratios = {"5m": f"{rates['bad']} / {rates['all']}"}
    for window in (*(each[name] for each in windows for name in ("short", "long")), _BUDGET_WINDOW):
        bad, every = (f"sum_over_time({rates[name]}[{window}])" for name in ("bad", "all"))
        ratios.setdefault(window, f"{bad} / ({every} > {_MIN_EVENTS})")
    for window, query in ratios.items():
        if f"{series}:ratio{window}" not in existing:
            yield {"record": f"{series}:ratio{window}", "expr": query}
    left = f"1 - {series}:ratio{_BUDGET_WINDOW} / {1 - slo['objective']:.4g}"
    yield {"record": f"{series}:error_budget_left{_BUDGET_WINDOW}", "expr": left}


def _alerts(
    slo: Mapping[str, Any], windows: Iterable[Mapping[str, Any]], existing: set[str], url: str
) -> Iterator[Any]:
    allowed, what = 1 - slo["objective"], slo["bad_events"]
    for window in windows:
        long, short = (f"ordinaut:{slo['series']}:ratio{window[name]}" for name in ("long", "short"))
        if (name := f"{slo['alert']}{window['name']}") in existing:
            continue
        yield {
            "alert": name,
            "expr": f"({short} < {long} or {long} <= {short}) > {window['factor'] * allowed:.4g}",
            "for": window["for"],
            "labels": {"severity": window["severity"]},
            "annotations": {
                "summary": f"Too many {what}",
                "description": f"Share of {what} in the last {window['long']}: {{{{ $value | humanizePercentage }}}},"
                f" and it goes on. Allowed: {allowed:.4g}.",
                "runbook_url": f"{url}/runbooks/{slo['runbook']}",
            },
        }
