"""Rules and alerts: for the scrape tier names and states, for operators everything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.alerts.fingerprint import fingerprint
from ordinaut_ext_observability.alerts.notifications.alert import notified_alert
from ordinaut_ext_observability.alerts.notifications.desk import AlertDesk
from ordinaut_ext_observability.alerts.notifications.explaining import explain, journal_of
from ordinaut_ext_observability.alerts.report import GroupReport, Report, RuleReport
from ordinaut_ext_observability.alerts.rules import AlertingRule
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.web.answers import JSON_HEADERS, PiecewiseResponse, error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.endpoints.incidents import shown_hold
from ordinaut_ext_observability.web.prometheus_json import format_exponent, format_time, render

Shown = dict[str, Any]
_Limit = Annotated[int, Query(ge=1, le=5000, description="The newest, so many.")]
_Alert = Annotated[str, Query(description="Those about the alert of this name or fingerprint.")]
_Receiver = Annotated[str, Query(description="Those to this receiver.")]
_Outcome = Annotated[str, Query(pattern="^(queued|sent|failed|dropped)?$", description="Those of this outcome.")]

NOT_EVALUATED = "This process evaluates no rules: it serves no application, or alerts or history are turned off."

_OFF: Shown = {"status": "off"} | dict.fromkeys(
    ("age_seconds", "evaluated_here", "settled", "problems", "store_problem")
)


def _endpoint(path: str, part: str, find: Callable[[Report], Any], show: Callable[..., Shown], said: str) -> Endpoint:
    """An endpoint that lists what is found in a report, alerts or groups of rules, below what is said of them all."""

    async def handle(request: Request) -> Response:
        context = context_of(request)
        rounds, detailed = context.alerts(), context.access.sees_details(request)
        shown = rounds.overview() if rounds is not None else dict(_OFF)
        if not detailed:
            del shown["problems"], shown["store_problem"]
        report = rounds.report if rounds is not None else Report()
        if detailed and part == "alerts" and rounds is not None:
            with suppress(ClusterUnavailableError):  # the alerts are shown all the same
                shown["acknowledged"] = await in_daemon_thread(_acknowledged, context.desk, report)
        shown[part] = (show(each, detailed=detailed) for each in find(report))
        # In pieces: many alerts at once would hold the loop.
        return PiecewiseResponse([b"".join(some) async for some in Slicer().slices(render(shown))], JSON_HEADERS)

    said = f"{said}; the operator's or viewer's token shows all about them"
    return Endpoint(path, "scrape", handle, said, {200: f"The {path[1:]}."})


def _acknowledged(desk: AlertDesk, report: Report) -> dict[str, Shown]:
    """The acknowledgements that hold, by the alert's fingerprint."""
    acks = [each for each in desk.silences() if each.kind == "acknowledgement"]
    alerts, now_ms = [notified_alert(alert) for alert in report.alerts()] if acks else [], desk.now_ms()
    return {alert.fingerprint: shown_hold(ack) for alert in alerts for ack in acks if ack.mutes(alert, now_ms)}


def _alert(alert: AlertState, *, detailed: bool) -> Shown:
    labels, active, fired, resolved = dict(alert.labels), alert.active_at_ms, alert.fired_at_ms, alert.resolved_at_ms
    shown: Shown = {"name": labels["alertname"], "severity": labels.get("severity", ""), "state": alert.state}
    shown["since"] = format_time(resolved or fired or active)
    if detailed:
        shown |= {"labels": labels, "annotations": alert.annotations, "value": format_exponent(alert.value)}
        times = {"active_at": active, "fired_at": fired, "resolved_at": resolved}
        shown |= {name: None if time is None else format_time(time) for name, time in times.items()}
        shown["fingerprint"] = fingerprint(labels)
    return shown


def _group(found: GroupReport, *, detailed: bool) -> Shown:
    group, rules = found
    shown: Shown = {"name": group.name, "interval_seconds": group.interval_ms / 1000}
    if detailed:
        shown |= {"file": group.file, "limit": group.limit}
    return shown | {"rules": (_rule(rule, detailed=detailed) for rule in rules)}


def _rule(found: RuleReport, *, detailed: bool) -> Shown:
    rule, state, notes = found
    at, labels = state.evaluated_at_ms, {name: str(text) for name, text in rule.labels.items()}
    shown: Shown = {"name": rule.name, "type": rule.kind, "health": state.health}
    shown["evaluated_at"] = None if at is None else format_time(at)
    if isinstance(rule, AlertingRule):
        shown["state"] = "unknown" if state.health == "unknown" and not state.active else state.severest
        shown |= {"severity": labels.get("severity", ""), "alerts": len(state.active)}
    if detailed:
        shown |= {"query": rule.query, "labels": labels, "evaluation_seconds": state.seconds}
        shown |= {"error": state.error, "notes": notes}
    if detailed and isinstance(rule, AlertingRule):
        shown |= {"for_seconds": rule.for_ms / 1000, "keep_firing_for_seconds": rule.keep_firing_for_ms / 1000}
        shown["annotations"] = {name: str(text) for name, text in rule.annotations.items()}
    return shown


async def _reload(request: Request) -> Response:
    rounds = context_of(request).alerts()
    if rounds is None:
        return error_response(503, "not_evaluated", NOT_EVALUATED)
    refused = await in_daemon_thread(partial(rounds.rules.read_changed, all_files=True))
    if refused:
        said = f"{'; '.join(refused)}. All other files are read; a refused one keeps its rules from before."
        return error_response(422, "rules_refused", said)
    return json_response({"status": "ok"})


async def _send_test(request: Request, to: str) -> Response:
    desk = context_of(request).desk
    outcomes = await in_daemon_thread(desk.send_test, to)
    known = ", ".join(desk.routing().receivers)
    if not outcomes:
        return error_response(404, "no_such_receiver", f"Nobody is told by this name; receivers are {known}.")
    return json_response({"outcomes": outcomes})


_TEST = "send a test to a receiver, ?to=critical, or by one integration, ?to=critical/slack[0]"
_TESTED = {200: "What came of it by integration: sent, or why not.", 404: None, 422: None}


async def _notifications(
    request: Request, limit: _Limit = 100, alert: _Alert = "", receiver: _Receiver = "", outcome: _Outcome = ""
) -> Response:
    def find(desk: AlertDesk) -> Shown:
        wanted = (each for each in journal_of(desk, alert) if receiver in ("", each["receiver"]))
        return {"notifications": [each for each in wanted if outcome in ("", each["outcome"])][:limit]}

    return await _from_store(request, find)


async def _why(request: Request, fingerprint: str) -> Response:
    return await _from_store(request, lambda desk: explain(desk, fingerprint))


async def _from_store(request: Request, find: Callable[[AlertDesk], Shown | None]) -> Response:
    try:
        found = await in_daemon_thread(find, context_of(request).desk)
    except ClusterUnavailableError as error:
        return error_response(503, "store_unavailable", f"The store does not answer: {error}")
    if found is None:
        return error_response(404, "not_found", "No such alert fires, and nobody was told of one: see GET /alerts.")
    return json_response(found)


_RELOADED = {200: "All files are read; they take effect with the next evaluation.", 422: None, 503: None}
_JOURNAL = {200: "The newest first.", 422: None, 503: None}
_WHY = {200: "Who was told, what mutes it, when it is looked at next.", 404: None, 422: None, 503: None}

ENDPOINTS = (
    _endpoint("/alerts", "alerts", Report.alerts, _alert, "alerts pending, firing, just resolved"),
    _endpoint("/rules", "groups", attrgetter("groups"), _group, "rules and how they stand"),
    Endpoint("/-/reload", "operator", _reload, "read the rule files again", _RELOADED, methods=("POST",)),
    Endpoint("/notifications/test", "operator", _send_test, _TEST, _TESTED, methods=("POST",)),
    Endpoint("/notifications", "operator", _notifications, "who was told of what, and why", _JOURNAL),
    Endpoint("/alerts/{fingerprint}/why", "operator", _why, "why somebody was told of an alert, or not", _WHY),
)
