"""The facts that the status page shows, by section.

All are in memory: nothing here asks a store, a database or anything else that may keep it waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import Any, Final

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
Reason = tuple[str, str, int | None, str]
"""A status, the reason for it in words, since when in milliseconds since 1970, and the section that says more."""


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
        """Time of the last change of a check's status; None where it has had no result for long."""
        changes = self.changes[check.name]
        return ms_of(changes[-1]) if changes and not check.stale else None


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


def _state(moment: Moment) -> Iterator[Facts]:
    reasons = sorted(_reasons(moment), key=lambda reason: -RANKS.index(reason[0]))
    yield {}
    status = reasons[0][0] if reasons else "healthy"
    begun = [since_ms for each, _, since_ms, _ in reasons if each == status and since_ms is not None]
    ended = [*map(moment.since_ms, moment.checks)]
    ended += [alert.resolved_at_ms for alert in moment.ended if weight_of(alert) != "healthy"]
    # Resolved alerts are kept for minutes: the journal knows of those that somebody was told of for longer.
    ended += [entry["at_ms"] for entry in moment.seen.journal if entry.get("status") == "resolved"]
    since_ms = min(begun, default=None) if reasons else max(filter(None, ended), default=None)
    telling = [alert.state for alert in moment.alerts if weight_of(alert) != "healthy"]
    healthy = [check for check in moment.checks if check.shown_status == "healthy"]
    counts = {
        "firing": telling.count("firing"),
        "pending": telling.count("pending"),
        "healthy": len(healthy),
        "checks": len(moment.checks),
    }
    yield {"status": status, "reasons": reasons, "since_ms": since_ms, **counts}


def _reasons(moment: Moment) -> Iterable[Reason]:
    lifecycle = moment.context.lifecycle
    if lifecycle.why_not_live():
        yield "unhealthy", "The event loop of this process is blocked: it answers late or not at all.", None, ""
    if lifecycle.stopping:
        yield "degraded", "The host is stopping.", None, ""
    elif lifecycle.why_not_started():
        yield UNKNOWN, "The host is starting.", None, ""
    if not moment.checks:
        yield UNKNOWN, "No check runs in this process.", None, "checks"
    for check in moment.checks:
        if (status := status_of(check)) != "healthy":
            words = f"Check {check.name} is {check.shown_status}{f': {check.message}' if check.message else ''}"
            yield status, words, moment.since_ms(check), "checks"
    if not _knows_alerts(moment):
        yield UNKNOWN, "It is not known yet which alerts fire.", None, "alerts"
    for alert in moment.alerts:
        if alert.state == "firing" and (status := weight_of(alert)) != "healthy":
            words = f"Alert {alert.label('alertname')}: {alert.annotations.get('summary') or 'it fires'}"
            yield status, words, alert.fired_at_ms, "alerts"


def _knows_alerts(moment: Moment) -> bool:
    """True where all alerts that should fire do, or nobody evaluates any: soon after a start none may fire yet."""
    told = moment.rounds.overview() if moment.rounds is not None else None
    return told is None or (told["status"] != UNKNOWN and (told["settled"] or not told["evaluated_here"]))


def _alerts(moment: Moment) -> Iterator[Facts]:
    now_ms, rounds, told_by = moment.now_ms, moment.rounds, moment.context.desk.told_by
    holds = [each for each in moment.seen.silences if each.state(now_ms) != "expired"]
    alerts = []
    for alert in moment.alerts[:50]:
        notified = notified_alert(alert)
        muted_by = [each for each in holds if each.mutes(notified, now_ms)]
        alerts.append((alert, weight_of(alert), notified.fingerprint, muted_by))
    off = "" if rounds is not None else moment.overview.get("alerts", "not known to this process")
    facts = {"off": off, "problems": rounds.troubles() if rounds is not None else (), "told_by": told_by}
    yield facts | {"alerts": alerts, "total": len(moment.alerts), "holds": holds[:50], "more_holds": len(holds) - 50}


def _checks(moment: Moment) -> Iterator[Facts]:
    end_ms, uptime = moment.now_ms - moment.now_ms % STRIP_STEP_MS, moment.context.lifecycle.monitor.uptime_ratio
    checks = []
    for check in moment.checks[:100]:
        ratios = [uptime(check.name, timedelta(hours=hours)) for hours in (1, 24)]
        checks.append((check, moment.since_ms(check), ratios, _segments(moment.changes[check.name], end_ms)))
        yield {}
    times = {"start_ms": end_ms - STRIP_MS, "end_ms": end_ms}
    yield {"checks": checks, "total": len(moment.checks), "not_configured": moment.health.not_configured, **times}


def _segments(changes: list[Transition], end_ms: int) -> Sequence[tuple[int, int, str]]:
    """Times of the last hour, each with the status that a check had; before the first of them nothing is known."""
    begin_ms = end_ms - STRIP_MS
    edges = [(begin_ms, UNKNOWN), *((ms_of(each), each.after.value if each.after else UNKNOWN) for each in changes)]
    ends = [*(start_ms for start_ms, _ in edges[1:]), end_ms]
    cut = [(max(start, begin_ms), min(end, end_ms), status) for (start, status), end in zip(edges, ends, strict=True)]
    return [each for each in cut if each[0] < each[1]]


def _journal(moment: Moment) -> Iterator[Facts]:
    entries, newest, total = iter(_entries(moment)), list[tuple[Any, ...]](), 0
    while some := list(islice(entries, 100)):
        newest, total = sorted([*newest, *some], reverse=True)[:50], total + len(some)
        yield {}
    yield {"entries": newest, "total": total}


def _entries(moment: Moment) -> Iterable[tuple[int, str, str, str, str, str]]:
    """Times in milliseconds since 1970, kinds, what came of it, the status it is shown as, names and words."""
    for name, changes in moment.changes.items():
        for each in changes[-50:]:
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


def _loggers(moment: Moment) -> Iterator[Facts]:
    known = logging.root.manager.loggerDict.copy()
    names = ["root", *(name for name in sorted(known) if getattr(known[name], "level", 0))]
    described = [moment.context.levels.describe(name) for name in names[:100]]
    yield {"loggers": described, "total": len(names), "names": sorted(known)[:100]}


JUDGED: Final[dict[str, Callable[[Moment], Iterable[Facts]]]] = {
    "state": _state,
    "alerts": _alerts,
    "checks": _checks,
    "workers": lambda moment: [{"values": list(read_values(moment.history, "workers", moment.now_ms))}],
    "database": lambda moment: [{"values": list(read_values(moment.history, "database", moment.now_ms))}],
    "journal": _journal,
    "loggers": _loggers,
}
"""Finders of the facts of sections, a little at a step; other sections show what the moment has."""
