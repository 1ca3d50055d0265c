"""Rules and alerts as Prometheus's HTTP API has them, version 1."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from ordinaut_ext_observability.alerts.report import GroupReport, RuleReport
from ordinaut_ext_observability.alerts.rules import AlertingRule
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.web.endpoints.alerts import NOT_EVALUATED
from ordinaut_ext_observability.web.endpoints.base import Endpoint, EndpointContext
from ordinaut_ext_observability.web.endpoints.prometheus import Work, api_endpoint
from ordinaut_ext_observability.web.prometheus_json import format_exponent, format_time, render, render_success
from ordinaut_ext_observability.web.queries import Parameters, UnavailableError, invalid

Shown = dict[str, Any]
Answer = Callable[[Parameters, Sequence[GroupReport]], Shown]
"""Makes the field `data` of an answer from what was asked for and all groups."""

_NOT_YET = "No rules have been evaluated yet: try again in a moment."
_BOOLEANS = {"": False, "0": False, "f": False, "false": False, "1": True, "t": True, "true": True}


def _alerts(_parameters: Parameters, groups: Sequence[GroupReport]) -> Shown:
    states = (rule.state for group in groups for rule in group.rules)
    return {"alerts": (_alert(alert) for state in states for alert in state.active)}


def _rules(parameters: Parameters, groups: Sequence[GroupReport]) -> Shown:
    names, files, is_wanted = parameters.get("rule_group[]", []), parameters.get("file[]", []), _rule_filter(parameters)
    bare = _BOOLEANS.get(parameters.text("exclude_alerts").lower())
    if bare is None:
        raise invalid("exclude_alerts", "is neither true nor false")
    found = [
        each._replace(rules=rules)
        for each in groups
        if (not names or each.group.name in names) and (not files or each.group.file in files)
        if (rules := list(filter(is_wanted, each.rules)))
    ]
    shown, token = _page(found, parameters)
    rendered = (_group(group, with_alerts=not bare) for group in shown)
    return ({"groupNextToken": token} if token else {}) | {"groups": rendered}


def _rule_filter(parameters: Parameters) -> Callable[[RuleReport], bool]:
    """A test of a rule: is it asked for? Raises BadQueryError where a parameter is wrong."""
    kind, names = parameters.text("type"), parameters.get("rule_name[]", [])
    if kind not in ("", "alert", "record"):
        raise invalid("type", f'not supported value "{kind[:100]}"')
    selectors = parameters.selectors()

    def is_wanted(found: RuleReport) -> bool:
        rule = found.rule
        fixed = {name: text for name, label in rule.labels.items() if "{{" not in (text := str(label))}
        matches = (all(m.matches(fixed.get(m.name, "")) for m in selector.matchers) for selector in selectors)
        named = rule.kind.startswith(kind) and (not names or rule.name in names)
        return named and (not selectors or any(matches))

    return is_wanted


def _page(groups: Sequence[GroupReport], parameters: Parameters) -> tuple[Sequence[GroupReport], str]:
    """The groups after those that the client has, as many as it asks for, and a token for those after them."""
    limit, after = parameters.text("group_limit"), parameters.text("group_next_token")
    if not limit and not after:
        return groups, ""
    if not (limit.isascii() and limit.isdecimal() and int(limit[:9]) > 0):
        raise invalid("group_limit", "needs to be a whole number greater than zero")
    places = (f"{group.file};{group.name}" for group, *_ in groups)
    tokens = [hashlib.sha256(place.encode()).hexdigest() for place in places]
    if after and after not in tokens:
        raise invalid("group_next_token", "it names no group: rules have changed, begin without it")
    start = tokens.index(after) + 1 if after else 0
    end = start + int(limit[:9])
    return groups[start:end], tokens[end - 1] if end < len(groups) else ""


def _group(found: GroupReport, *, with_alerts: bool) -> Shown:
    group, rules = found
    states = [rule.state for rule in rules]
    times = [state.evaluated_at_ms for state in states if state.evaluated_at_ms is not None]
    return {
        "name": group.name,
        "file": group.file,
        "interval": group.interval_ms / 1000,
        "limit": group.limit,
        "evaluationTime": sum(state.seconds for state in states),
        "lastEvaluation": format_time(max(times, default=None)),
        "rules": (_rule(rule, with_alerts=with_alerts) for rule in rules),
    }


def _rule(found: RuleReport, *, with_alerts: bool) -> Shown:
    """A rule with its active alerts; templates as they are written."""
    rule, state, _ = found
    shown = {
        "name": rule.name,
        "query": rule.query,
        "labels": {name: str(text) for name, text in rule.labels.items()},
        "health": state.health,
        "evaluationTime": state.seconds,
        "lastEvaluation": format_time(state.evaluated_at_ms),
        "type": rule.kind,
    }
    if isinstance(rule, AlertingRule):
        shown |= {
            "state": state.severest,
            "duration": rule.for_ms / 1000,
            "keepFiringFor": rule.keep_firing_for_ms / 1000,
            "annotations": {name: str(text) for name, text in rule.annotations.items()},
            "alerts": [_alert(alert) for alert in state.active] if with_alerts else [],
        }
    return shown | ({"lastError": state.error} if state.error else {})


def _alert(alert: AlertState) -> Shown:
    since = alert.keep_firing_since_ms
    return {
        "labels": dict(alert.labels),
        "annotations": alert.annotations,
        "state": alert.state,
        "activeAt": format_time(alert.active_at_ms),
        **({"keepFiringSince": format_time(since)} if since is not None else {}),
        "value": format_exponent(alert.value),
    }


def _endpoint(path: str, answer: Answer, said: str) -> Endpoint:
    def work(parameters: Parameters, context: EndpointContext) -> Work:
        rounds = context.alerts()
        overview = rounds.overview() if rounds is not None else {}
        if rounds is None or overview["age_seconds"] is None:
            raise UnavailableError(NOT_EVALUATED if rounds is None else _NOT_YET)
        data = answer(parameters, rounds.report.groups)
        age, is_old = overview["age_seconds"], overview["status"] == "unknown"
        return render_success(render(data), warnings=[f"this is how it was {age:.0f} s ago"] if is_old else [])

    return api_endpoint(path, work, said)


_PARAMETERS = "type, rule_name[], rule_group[], file[], match[], exclude_alerts, group_limit, group_next_token"

ENDPOINTS = (
    _endpoint("/alerts", _alerts, "alerts that are pending or firing"),
    _endpoint("/rules", _rules, f"rules with their alerts: {_PARAMETERS}"),
)
