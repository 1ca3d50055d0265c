"""Rules and alerts: for the scrape tier names and states, for operators everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.alerts import NO_TROUBLE
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.web.answers import JSON_HEADERS, PiecewiseResponse, error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

Shown = dict[str, Any]
Group = tuple[Shown, Iterable[Shown]]
"""The fields of a group, and its rules."""

NOT_EVALUATED = "This process evaluates no rules: it serves no application, or alerts or history are turned off."


@dataclass(frozen=True, slots=True)
class AlertService:
    """The rules of this process and the alerts of the installation."""

    state: Callable[[], Shown | None]
    """Gives what is known now; None in a process that evaluates no rules."""
    reload: Callable[[], list[str]]
    """Reads the rule files again, on any thread; gives what is wrong with them."""
    stale_seconds: float
    """Age from which on what is known is not taken for what is."""

    def status(self, state: Shown | None) -> str:
        """One word for all alerts: off, unknown, firing, ok."""
        if state is None:
            return "off"
        if state["age_seconds"] is None or state["age_seconds"] > self.stale_seconds:
            return "unknown"
        firing = {alert["severity"] for alert in state["alerts"] if alert["state"] == "firing"}
        return "firing" if firing.difference(NO_TROUBLE) else "ok"


async def _alerts(request: Request) -> Response:
    head, state, detailed = _overview(request)
    shown = (_alert(alert, detailed=detailed) for alert in state.get("alerts", ()))
    return await respond(render_object(head, "alerts", render_list(shown)))


async def _rules(request: Request) -> Response:
    head, state, detailed = _overview(request)
    shown = (_group(group, detailed=detailed) for group in state.get("groups", ()))
    return await respond(render_object(head, "groups", render_groups(shown)))


def _overview(request: Request) -> tuple[Shown, Shown, bool]:
    """The fields about all rules and alerts, what is known, and whether the client may see all of it."""
    context = context_of(request)
    state, detailed = context.alerts.state(), context.access.sees_details(request)
    names = ("age_seconds", "evaluated_here", "settled", *(("problems", "store_problem") if detailed else ()))
    known = state or {}
    return {"status": context.alerts.status(state)} | {name: known.get(name) for name in names}, known, detailed


def _alert(alert: Shown, *, detailed: bool) -> Shown:
    shown = _fields(alert, "name", "severity", "state")
    shown["since"] = alert["resolvedAt"] or alert["firedAt"] or alert["activeAt"]
    if detailed:
        shown |= _fields(alert, "labels", "annotations", "value", "fingerprint")
        shown |= {"active_at": alert["activeAt"], "fired_at": alert["firedAt"], "resolved_at": alert["resolvedAt"]}
    return shown


def _group(group: Shown, *, detailed: bool) -> Group:
    shown = {"name": group["name"], "interval_seconds": group["interval"]}
    rules = (_rule(rule, detailed=detailed) for rule in group["rules"])
    return shown | (_fields(group, "file", "limit") if detailed else {}), rules


def _rule(rule: Shown, *, detailed: bool) -> Shown:
    known, alerting = rule["health"] != "unknown", rule["type"] == "alerting"
    shown = _fields(rule, "name", "type", "health")
    shown["evaluated_at"] = rule["lastEvaluation"] if known else None
    if alerting:
        shown["state"] = rule["state"] if known or rule["alerts"] else "unknown"
        shown |= {"severity": rule["labels"].get("severity", ""), "alerts": len(rule["alerts"])}
    if detailed:
        shown |= _fields(rule, "query", "labels") | {"evaluation_seconds": rule["evaluationTime"]}
        shown |= {"error": rule.get("lastError", ""), "notes": rule.get("notes", [])}
    if detailed and alerting:
        shown |= {"for_seconds": rule["duration"], "keep_firing_for_seconds": rule["keepFiringFor"]}
        shown["annotations"] = rule["annotations"]
    return shown


def _fields(shown: Shown, *names: str) -> Shown:
    return {name: shown[name] for name in names}


async def _reload(request: Request) -> Response:
    service = context_of(request).alerts
    if service.state() is None:
        return error_response(503, "not_evaluated", NOT_EVALUATED)
    problems = await in_daemon_thread(service.reload)
    if problems:
        return error_response(
            422,
            "rules_refused",
            f"{'; '.join(problems)}. All other files are read; a refused one keeps its rules from before.",
        )
    return json_response({"status": "ok"})


def render_list(items: Iterable[Shown]) -> Iterator[bytes]:
    """Items of a list as JSON, one by one."""
    return ((b"," if number else b"") + orjson.dumps(item) for number, item in enumerate(items))


def render_groups(groups: Iterable[Group]) -> Iterator[bytes]:
    """Groups as items of a list, rule by rule."""
    for number, (group, rules) in enumerate(groups):
        yield b"," if number else b""
        yield from render_object(group, "rules", render_list(rules))


def render_object(fields: Shown, name: str, items: Iterable[bytes]) -> Iterator[bytes]:
    """An object of these fields and a list of this name as JSON, in short pieces."""
    start = orjson.dumps(fields)[:-1] + (b"," if fields else b"")
    return chain((start + orjson.dumps(name) + b":[",), items, (b"]}",))


async def respond(pieces: Iterable[bytes]) -> Response:
    """An answer that is made and sent in pieces: many alerts at once would hold the loop."""
    return PiecewiseResponse([b"".join(some) async for some in Slicer().slices(pieces)], JSON_HEADERS)


_WHO = "; the operator's or viewer's token shows all about them"
_RELOADED = {200: "All files are read; they take effect with the next evaluation.", 422: None, 503: None}

ENDPOINTS = (
    Endpoint("/alerts", "scrape", _alerts, f"alerts pending, firing, just resolved{_WHO}", {200: "The alerts."}),
    Endpoint("/rules", "scrape", _rules, f"rules and how they stand{_WHO}", {200: "The rules, by group."}),
    Endpoint("/-/reload", "operator", _reload, "read the rule files again", _RELOADED, methods=("POST",)),
)
