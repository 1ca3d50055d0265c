"""The facts that the status page shows, by section.

All are in memory: nothing here asks a store, a database or anything else that may keep it waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
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

RANKS: Final = ("healthy", UNKNOWN, "degraded", "unhealthy")
"""Statuses, the worst last. What is not known is worse than what is known to be well."""
STRIP_MS: Final = 3_600_000
"""Time that the strip of a check shows: the last hour."""
STRIP_STEP_MS: Final = 15_000
"""Steps in which a strip's end moves: for so long a page of which nothing changed is the same."""
_CRITICAL: Final = ("critical", "page")
"""Severities for which somebody is woken: while such an alert fires, the state is unhealthy."""
_OUTCOMES: Final = {"sent": "healthy", "failed": "unhealthy", "dropped": "degraded"}
"""Statuses as which the journal shows what came of notifications."""

Facts = dict[str, Any]


class Reason(NamedTuple):
    """A reason for the state; since when in milliseconds since 1970, and the section that says more."""

    status: str
    words: str
    since_ms: int | None = None
    section: str = ""


class Moment:
    """The things that sections are made of, as they are at one moment."""

    def __init__(self, context: EndpointContext, overview: Facts) -> None:
        self.context, self.overview = context, overview
        self.rounds, self.seen, self.now_ms = context.alerts(), context.desk.seen(), context.desk.now_ms()
        self.history: History | None = None
        with suppress(UnavailableError):
            self.history = context.queries.source()
        self.health = context.lifecycle.monitor.report()
        self.checks = sorted(self.health.checks, key=lambda check: -RANKS.index(status_of(check)))
        self.changes = {each.name: context.lifecycle.monitor.history(each.name) for each in self.checks}
        known = list(self.rounds.report.alerts()) if self.rounds is not None else []
        self.ended = [alert for alert in known if alert.state == "resolved"]
        self.alerts = sorted((each for each in known if each.state != "resolved"), key=_urgency)

    def since_ms(self, check: CheckReport) -> int | None:
        """Time of the last change of a check's status."""
        return ms_of(self.changes[check.name][-1]) if self.changes[check.name] else None


def status_of(check: CheckReport) -> str:
    """The check's part in the state: one that is not required makes it degraded at most."""
    is_minor = check.known and check.status is HealthStatus.UNHEALTHY and not check.required
    return "degraded" if is_minor else check.shown_status


def weight_of(alert: AlertState) -> str:
    """The state that an alert stands for while it fires."""
    severity = alert.label("severity")
    return "unhealthy" if severity in _CRITICAL else "healthy" if severity in NO_TROUBLE else "degraded"


def ms_of(change: Transition) -> int:
    """The time of a change, in milliseconds since 1970."""
    return round(change.at.timestamp() * 1000)


def _urgency(alert: AlertState) -> tuple[str, int, int]:
    return alert.state, -RANKS.index(weight_of(alert)), -alert.active_at_ms  # firing before pending


def _state(moment: Moment) -> Facts:
    reasons = sorted(_reasons(moment), key=lambda reason: -RANKS.index(reason.status))
    status = reasons[0].status if reasons else "healthy"
    begun = [each.since_ms for each in reasons if each.status == status and each.since_ms is not None]
    ended = [*map(moment.since_ms, moment.checks), *(alert.resolved_at_ms for alert in moment.ended)]
    since_ms = min(begun, default=None) if reasons else max(filter(None, ended), default=None)
    firing = [each for each in moment.alerts if each.state == "firing" and weight_of(each) != "healthy"]
    healthy = [check for check in moment.checks if check.shown_status == "healthy"]
    counts = {"firing": len(firing), "healthy": len(healthy), "checks": len(moment.checks)}
    return {"status": status, "reasons": reasons, "since_ms": since_ms, **counts}


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
            words = f"Check {check.name} is {check.shown_status}{f': {check.message}' if check.message else ''}"
            yield Reason(status, words, moment.since_ms(check), "checks")
    if moment.rounds is not None and moment.rounds.overview()["status"] == UNKNOWN:
        yield Reason(UNKNOWN, "It is not known yet which alerts fire.", None, "alerts")
    for alert in moment.alerts:
        if alert.state == "firing" and (status := weight_of(alert)) != "healthy":
            words = f"Alert {alert.label('alertname')}: {alert.annotations.get('summary') or 'it fires'}"
            yield Reason(status, words, alert.fired_at_ms, "alerts")


def _alerts(moment: Moment) -> Facts:
    now_ms, rounds, told_by = moment.now_ms, moment.rounds, moment.context.desk.told_by
    holds = [each for each in moment.seen.silences if each.state(now_ms) != "expired"]
    alerts = []
    for alert in moment.alerts[:50]:
        notified = notified_alert(alert)
        muted_by = [each for each in holds if each.mutes(notified, now_ms)]
        alerts.append((alert, weight_of(alert), notified.fingerprint, muted_by))
    off = "" if rounds is not None else moment.overview.get("alerts", "off")
    facts = {"off": off, "problems": rounds.troubles() if rounds is not None else (), "told_by": told_by}
    return facts | {"alerts": alerts, "total": len(moment.alerts), "holds": holds[:50], "more_holds": len(holds) - 50}


def _checks(moment: Moment) -> Facts:
    end_ms, uptime = moment.now_ms - moment.now_ms % STRIP_STEP_MS, moment.context.lifecycle.monitor.uptime_ratio
    checks = []
    for check in moment.checks[:100]:
        ratios = [uptime(check.name, timedelta(hours=hours)) for hours in (1, 24)]
        checks.append((check, moment.since_ms(check), ratios, _segments(moment.changes[check.name], end_ms)))
    times = {"start_ms": end_ms - STRIP_MS, "end_ms": end_ms}
    return {"checks": checks, "total": len(moment.checks), "not_configured": moment.health.not_configured, **times}


def _segments(changes: list[Transition], end_ms: int) -> Sequence[tuple[int, int, str]]:
    """Times of the last hour, each with the status that a check had; before the first of them nothing is known."""
    begin_ms = end_ms - STRIP_MS
    edges = [(begin_ms, UNKNOWN), *((ms_of(each), each.after.value if each.after else UNKNOWN) for each in changes)]
    ends = [*(start_ms for start_ms, _ in edges[1:]), end_ms]
    cut = [(max(start, begin_ms), min(end, end_ms), status) for (start, status), end in zip(edges, ends, strict=True)]
    return [each for each in cut if each[0] < each[1]]


def _errors(moment: Moment) -> Facts:
    groups, age_seconds = moment.context.trouble.errors.known()
    newest = nlargest(30, groups.items(), key=lambda item: item[1]["last_seen"])
    return {"groups": newest, "total": len(groups), "shared": age_seconds is not None}


def _slow(moment: Moment) -> Facts:
    trouble = moment.context.trouble
    requests = sorted(trouble.requests(), key=itemgetter("time"), reverse=True)
    return _first(30, "requests", requests) | {"slow_seconds": trouble.slow_seconds}


def _journal(moment: Moment) -> Facts:
    return _first(50, "entries", sorted(_entries(moment), reverse=True))


def _entries(moment: Moment) -> Iterable[tuple[int, str, str, str, str, str]]:
    """Times in milliseconds since 1970, kinds, what came of it, the status it is shown as, names and words."""
    for name, changes in moment.changes.items():
        for each in changes:
            before, after = (side.value if side else UNKNOWN for side in (each.before, each.after))
            if each.before or after != "healthy":  # else it was well from the start
                yield ms_of(each), "check", after, after, name, f"It was {before}. {each.message}"
    for alert in (*moment.alerts, *moment.ended):
        name, summary = alert.label("alertname"), alert.annotations.get("summary", "")
        if alert.fired_at_ms is not None:
            yield alert.fired_at_ms, "alert", "firing", weight_of(alert), name, summary
        if alert.resolved_at_ms is not None:
            yield alert.resolved_at_ms, "alert", "resolved", "healthy", name, summary
    for entry in moment.seen.journal:
        names = ", ".join(sorted({alert["alertname"] for alert in entry["alerts"]}))
        words = f"{entry['reason'].replace('_', ' ')}, to {entry['receiver']}. {entry['error'] or ''}"
        yield entry["at_ms"], "notification", entry["outcome"], _OUTCOMES.get(entry["outcome"], UNKNOWN), names, words


def _loggers(moment: Moment) -> Facts:
    known = logging.root.manager.loggerDict.copy()
    names = ["root", *(name for name in sorted(known) if getattr(known[name], "level", 0))]
    described = [moment.context.levels.describe(name) for name in names[:100]]
    return {"loggers": described, "total": len(names), "names": sorted(known)[:100]}


def _about(moment: Moment) -> Facts:
    notes = {name: note for name, note in moment.overview.items() if isinstance(note, str) and name != "health"}
    problems, deployments = moment.overview.get("settings_problems", ()), moment.context.deployments.known
    return {"notes": notes, "problems": problems, "deployments": deployments[:-6:-1]}


def _first(most: int, name: str, items: Sequence[Any]) -> Facts:
    return {name: items[:most], "total": len(items)}


SECTIONS: Final[dict[str, Callable[[Moment], Facts]]] = {
    "state": _state,
    "alerts": _alerts,
    "checks": _checks,
    "http": lambda _: {},
    "queue": lambda _: {},
    "workers": lambda moment: {"values": list(read_values(moment.history, "workers"))},
    "database": lambda moment: {"values": list(read_values(moment.history, "database"))},
    "errors": _errors,
    "slow": _slow,
    "journal": _journal,
    "loggers": _loggers,
    "about": _about,
}
"""Finders of the facts of each section, in the order of the page."""
