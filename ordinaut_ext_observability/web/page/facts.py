"""The facts that the status page shows, by section.

All are in memory: nothing here asks a store, a database or anything else that may keep it waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from heapq import nlargest
from operator import itemgetter
from typing import Any, Final, NamedTuple

from ordinaut_ext_observability.alerts import NO_TROUBLE
from ordinaut_ext_observability.alerts.notifications.alert import notified_alert
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.health.model import UNKNOWN, CheckReport, HealthStatus, Transition
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.web.endpoints.base import EndpointContext
from ordinaut_ext_observability.web.page.values import read_values
from ordinaut_ext_observability.web.queries import UnavailableError

MOST: Final = {"alerts": 50, "checks": 100, "errors": 30, "slow": 30, "journal": 50, "loggers": 100, "holds": 50}
"""Most items that a section shows; the page says how many more there are, and where."""
RANKS: Final = ("healthy", UNKNOWN, "degraded", "unhealthy")
"""Statuses, the worst last. What is not known is worse than what is known to be well."""
STRIP_MS: Final = 3_600_000
"""Time that the strip of a check shows: the last hour."""
STRIP_STEP_MS: Final = 15_000
"""Steps in which a strip's end moves: for so long a page of which nothing changed is the same."""
_CRITICAL: Final = ("critical", "page")
"""Severities for which somebody is woken: while such an alert fires, the state is unhealthy."""
_OUTCOMES: Final = {"sent": "healthy", "failed": "unhealthy", "dropped": "degraded"}
"""Tones in which the journal shows what came of notifications."""

Facts = dict[str, Any]


class Reason(NamedTuple):
    """A reason for the state, in words; since when in milliseconds since 1970, where that is known."""

    status: str
    words: str
    since_ms: int | None = None
    section: str = ""


class Entry(NamedTuple):
    """An entry of the journal."""

    at_ms: int
    kind: str
    status: str
    tone: str
    name: str
    words: str


class Moment:
    """The things that sections are made of, as they are at one moment."""

    def __init__(self, context: EndpointContext, overview: Facts) -> None:
        self.context, self.overview = context, overview
        self.rounds, self.seen, self.now_ms = context.alerts(), context.desk.seen(), context.desk.now_ms()
        self.history: History | None = None
        with suppress(UnavailableError):
            self.history = context.queries.source()
        report = context.lifecycle.monitor.report()
        self.not_configured = report.not_configured
        self.checks = sorted(report.checks, key=lambda check: -RANKS.index(status_of(check)))
        self.transitions = {each.name: context.lifecycle.monitor.history(each.name) for each in self.checks}
        known = list(self.rounds.report.alerts()) if self.rounds is not None else []
        self.ended = [alert for alert in known if alert.state == "resolved"]
        self.alerts = sorted(
            (alert for alert in known if alert.state != "resolved"),
            key=lambda alert: (alert.state, -RANKS.index(weight_of(alert)), -alert.active_at_ms),
        )


def status_of(check: CheckReport) -> str:
    """The check's part in the state: one that is not required makes it degraded at most."""
    if check.known and check.status is HealthStatus.UNHEALTHY and not check.required:
        return "degraded"
    return check.shown_status


def weight_of(alert: AlertState) -> str:
    """The state that an alert stands for while it fires."""
    severity = alert.label("severity")
    return "unhealthy" if severity in _CRITICAL else "healthy" if severity in NO_TROUBLE else "degraded"


def _state(moment: Moment) -> Facts:
    reasons = sorted(_reasons(moment), key=lambda reason: -RANKS.index(reason.status))
    status = reasons[0].status if reasons else "healthy"
    if reasons:
        times = [each.since_ms for each in reasons if each.status == status and each.since_ms is not None]
    else:  # the time of the last change for the better: the latest of all, so times are negative for `min`
        times = [-_ms(changes[-1]) for changes in moment.transitions.values() if changes]
        times += [-(alert.resolved_at_ms or 0) for alert in moment.ended]
    firing = [alert for alert in moment.alerts if alert.state == "firing" and weight_of(alert) != "healthy"]
    healthy = [check for check in moment.checks if check.shown_status == "healthy"]
    facts = {"status": status, "reasons": reasons, "since_ms": abs(min(times)) if times else None}
    return facts | {"firing": len(firing), "healthy": len(healthy), "checks": len(moment.checks)}


def _reasons(moment: Moment) -> Iterable[Reason]:
    lifecycle = moment.context.lifecycle
    if lifecycle.why_not_live():
        yield Reason("unhealthy", "The event loop of this process is blocked: it answers late or not at all.")
    if lifecycle.stopping:
        yield Reason("degraded", "The host is stopping.")
    elif lifecycle.why_not_started():
        yield Reason(UNKNOWN, "The host is starting.")
    if not moment.checks:
        yield Reason(UNKNOWN, "No check runs in this process.", None, "checks")
    for check in moment.checks:
        if (status := status_of(check)) != "healthy":
            changes, said = moment.transitions[check.name], f": {check.message}" if check.message else ""
            words = f"Check {check.name} is {check.shown_status}{said}"
            yield Reason(status, words, _ms(changes[-1]) if changes else None, "checks")
    if moment.rounds is not None and moment.rounds.overview()["status"] == UNKNOWN:
        yield Reason(UNKNOWN, "It is not known yet which alerts fire.", None, "alerts")
    for alert in moment.alerts:
        if alert.state == "firing" and (status := weight_of(alert)) != "healthy":
            words = f"Alert {alert.label('alertname')}: {alert.annotations.get('summary') or 'it fires'}"
            yield Reason(status, words, alert.fired_at_ms, "alerts")


def _alerts(moment: Moment) -> Facts:
    now_ms, rounds = moment.now_ms, moment.rounds
    holds = [each for each in moment.seen.silences if each.state(now_ms) != "expired"]
    shown = []
    for alert in moment.alerts[: MOST["alerts"]]:
        notified = notified_alert(alert)
        muted_by = [each for each in holds if each.mutes(notified, now_ms)]
        shown.append((alert, weight_of(alert), notified.fingerprint, muted_by))
    facts = {"alerts": shown, "total": len(moment.alerts), "more": len(moment.alerts) - len(shown)}
    facts |= {"off": moment.overview.get("alerts", "off") if rounds is None else ""}
    facts |= {"problems": rounds.troubles() if rounds is not None else [], "told_by": moment.context.desk.told_by}
    return facts | {"holds": holds[: MOST["holds"]], "more_holds": max(0, len(holds) - MOST["holds"])}


def _checks(moment: Moment) -> Facts:
    end_ms, ratio = moment.now_ms - moment.now_ms % STRIP_STEP_MS, moment.context.lifecycle.monitor.uptime_ratio
    shown = []
    for check in moment.checks[: MOST["checks"]]:
        changes = moment.transitions[check.name]
        ratios = [ratio(check.name, timedelta(hours=hours)) for hours in (1, 24)]
        shown.append((check, _ms(changes[-1]) if changes else None, ratios, _segments(changes, end_ms)))
    facts = {"checks": shown, "total": len(moment.checks), "more": len(moment.checks) - len(shown)}
    return facts | {"start_ms": end_ms - STRIP_MS, "end_ms": end_ms, "not_configured": moment.not_configured}


def _segments(transitions: list[Transition], end_ms: int) -> list[tuple[int, int, str]]:
    """Times of the last hour, each with the status that a check had; before the first of them nothing is known."""
    since_ms = end_ms - STRIP_MS
    edges = [(since_ms, UNKNOWN), *((_ms(each), each.after.value if each.after else UNKNOWN) for each in transitions)]
    ends = [*(start for start, _ in edges[1:]), end_ms]
    found = [(max(start, since_ms), min(end, end_ms), status) for (start, status), end in zip(edges, ends, strict=True)]
    return [each for each in found if each[0] < each[1]]


def _values(section: str, moment: Moment) -> Facts:
    return {"values": list(read_values(moment.history, section)) if moment.history is not None else []}


def _errors(moment: Moment) -> Facts:
    groups, age_seconds = moment.context.trouble.errors.known()
    shown = nlargest(MOST["errors"], groups.items(), key=lambda item: item[1]["last_seen"])
    return {"groups": shown, "total": len(groups), "more": len(groups) - len(shown), "shared": age_seconds is not None}


def _slow(moment: Moment) -> Facts:
    trouble = moment.context.trouble
    known = trouble.requests()
    shown = nlargest(MOST["slow"], known, key=itemgetter("time"))
    facts = {"requests": shown, "total": len(known), "more": len(known) - len(shown)}
    return facts | {"slow_seconds": trouble.slow_seconds}


def _journal(moment: Moment) -> Facts:
    entries = list(_entries(moment))
    shown = nlargest(MOST["journal"], entries)
    return {"entries": shown, "more": len(entries) - len(shown)}


def _entries(moment: Moment) -> Iterable[Entry]:
    for name, changes in moment.transitions.items():
        for each in changes:
            before, after = (side.value if side else UNKNOWN for side in (each.before, each.after))
            if each.before or after != "healthy":  # else it is well from the start
                yield Entry(_ms(each), "check", after, after, name, f"It was {before}. {each.message}")
    for alert in (*moment.alerts, *moment.ended):
        name, summary = alert.label("alertname"), alert.annotations.get("summary", "")
        if alert.fired_at_ms is not None:
            yield Entry(alert.fired_at_ms, "alert", "firing", weight_of(alert), name, summary)
        if alert.resolved_at_ms is not None:
            yield Entry(alert.resolved_at_ms, "alert", "resolved", "healthy", name, summary)
    for entry in moment.seen.journal:
        names = ", ".join(sorted({alert["alertname"] for alert in entry["alerts"]}))
        words = f"{entry['reason'].replace('_', ' ')}, to {entry['receiver']}. {entry['error'] or ''}"
        outcome = entry["outcome"]
        yield Entry(entry["at_ms"], "notification", outcome, _OUTCOMES.get(outcome, UNKNOWN), names, words)


def _loggers(moment: Moment) -> Facts:
    known = logging.root.manager.loggerDict.copy()
    names = ["root", *(name for name in sorted(known) if getattr(known[name], "level", 0))]
    shown = [moment.context.levels.describe(name) for name in names[: MOST["loggers"]]]
    return {"loggers": shown, "more": len(names) - len(shown), "names": sorted(known)[: MOST["loggers"]]}


def _about(moment: Moment) -> Facts:
    notes = {name: note for name, note in moment.overview.items() if isinstance(note, str) and name != "health"}
    problems, deployments = moment.overview.get("settings_problems", ()), moment.context.deployments.known
    return {"notes": notes, "problems": problems, "deployments": deployments[:-6:-1]}


def _ms(transition: Transition) -> int:
    return round(transition.at.timestamp() * 1000)


SECTIONS: Final[dict[str, Callable[[Moment], Facts]]] = {
    "state": _state,
    "alerts": _alerts,
    "checks": _checks,
    "http": lambda _: {},
    "queue": lambda _: {},
    "workers": partial(_values, "workers"),
    "database": partial(_values, "database"),
    "errors": _errors,
    "slow": _slow,
    "journal": _journal,
    "loggers": _loggers,
    "about": _about,
}
"""Finders of each section's facts, in the order of the page."""
