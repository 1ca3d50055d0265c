"""Rules and alerts as Prometheus's HTTP API has them, version 1."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.promql.errors import BadQueryError, QueryError
from ordinaut_ext_observability.promql.nodes import VectorSelector
from ordinaut_ext_observability.web.answers import JSON_HEADERS
from ordinaut_ext_observability.web.endpoints.alerts import (
    NOT_EVALUATED,
    render_groups,
    render_list,
    render_object,
    respond,
)
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.prometheus_json import render_error
from ordinaut_ext_observability.web.prometheus_parameters import Parameters, invalid, read_parameters
from ordinaut_ext_observability.web.queries import UnavailableError

Shown = dict[str, Any]

_NOT_YET = "No rules have been evaluated yet: try again in a moment."
_BOOLEANS = {"": False, "0": False, "f": False, "false": False, "1": True, "t": True, "true": True}


def _alerts(_parameters: Parameters, groups: Iterable[Shown]) -> Iterator[bytes]:
    rules = (rule for group in groups for rule in group["rules"])
    return render_object({}, "alerts", render_list(alert for rule in rules for alert in rule.get("alerts", ())))


def _rules(parameters: Parameters, groups: Iterable[Shown]) -> Iterator[bytes]:
    names, files, is_wanted = parameters.get("rule_group[]", []), parameters.get("file[]", []), _rule_filter(parameters)
    exclude = _BOOLEANS.get(parameters.text("exclude_alerts").lower())
    if exclude is None:
        raise invalid("exclude_alerts", "is neither true nor false")
    found = [
        group | {"rules": rules}
        for group in groups
        if (not names or group["name"] in names) and (not files or group["file"] in files)
        if (rules := list(filter(is_wanted, group["rules"])))
    ]
    shown, token = _page(found, parameters)
    alerts: Shown = {"alerts": []} if exclude else {}

    def bare(rule: Shown) -> Shown:
        return _but("notes", rule) | (alerts if "alerts" in rule else {})

    bare_groups = ((_but("rules", group), map(bare, group["rules"])) for group in shown)
    return render_object({"groupNextToken": token} if token else {}, "groups", render_groups(bare_groups))


def _but(name: str, shown: Shown) -> Shown:
    return {key: value for key, value in shown.items() if key != name}


def _rule_filter(parameters: Parameters) -> Callable[[Shown], bool]:
    """A test of a rule: is it asked for? Raises BadQueryError where a parameter is wrong."""
    kind, names = parameters.text("type"), parameters.get("rule_name[]", [])
    if kind not in ("", "alert", "record"):
        raise invalid("type", f'not supported value "{kind[:100]}"')
    selectors = parameters.selectors()

    def is_wanted(rule: Shown) -> bool:
        fixed = {name: text for name, text in rule["labels"].items() if "{{" not in text}
        named = rule["type"].startswith(kind) and (not names or rule["name"] in names)
        return named and (not selectors or any(_matches(selector, fixed) for selector in selectors))

    return is_wanted


def _matches(selector: VectorSelector, labels: Mapping[str, str]) -> bool:
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in selector.matchers)


def _page(groups: Sequence[Shown], parameters: Parameters) -> tuple[Sequence[Shown], str]:
    """The groups after those that the client has, as many as it asks for, and a token for those after them."""
    limit, after = parameters.text("group_limit"), parameters.text("group_next_token")
    if not limit and not after:
        return groups, ""
    if not (limit.isascii() and limit.isdecimal() and int(limit[:9]) > 0):
        raise invalid("group_limit", "needs to be a whole number greater than zero")
    tokens = [hashlib.sha256(f"{group['file']};{group['name']}".encode()).hexdigest() for group in groups]
    if after and after not in tokens:
        raise invalid("group_next_token", "it names no group: rules have changed, begin without it")
    start = tokens.index(after) + 1 if after else 0
    end = start + int(limit[:9])
    return groups[start:end], tokens[end - 1] if end < len(groups) else ""


def _endpoint(path: str, answer: Callable[[Parameters, Iterable[Shown]], Iterator[bytes]], said: str) -> Endpoint:
    async def handle(request: Request) -> Response:
        service = context_of(request).alerts
        state = service.state()
        try:
            if state is None or state["age_seconds"] is None:
                raise UnavailableError(NOT_EVALUATED if state is None else _NOT_YET)
            parameters = await read_parameters(request)
            data = await in_daemon_thread(answer, parameters, state["groups"])  # patterns may take long to compile
        except QueryError as error:
            status = 400 if isinstance(error, BadQueryError) else 503
            return Response(render_error(error.error_type, str(error)), status, JSON_HEADERS)
        old = service.status(state) == "unknown"
        warning = f',"warnings":["this is how it was {state["age_seconds"]:.0f} s ago"]' if old else ""
        return await respond(chain((b'{"status":"success","data":',), data, (f"{warning}}}".encode(),)))

    answers = {200: "The answer, as Prometheus gives it.", 400: _ERROR, 503: _ERROR}
    return Endpoint(f"/api/v1{path}", "operator", handle, said, answers, methods=("GET", "POST"), changes=False)


_ERROR = "An error in Prometheus's shape: status, errorType, error."
_PARAMETERS = "type, rule_name[], rule_group[], file[], match[], exclude_alerts, group_limit, group_next_token"

ENDPOINTS = (
    _endpoint("/alerts", _alerts, "alerts that are pending or firing"),
    _endpoint("/rules", _rules, f"rules with their alerts: {_PARAMETERS}"),
)
