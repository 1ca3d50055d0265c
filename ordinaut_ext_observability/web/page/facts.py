"""The facts that the status page shows, by section, as plain values.

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
from ordinaut_ext_observability.alerts.fingerprint import fingerprint
from ordinaut_ext_observability.alerts.notifications.alert import notified_alert
from ordinaut_ext_observability.alerts.notifications.silences import Silence
from ordinaut_ext_observability.alerts.routing.matchers import matchers_text
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.health.model import UNKNOWN, CheckReport, HealthStatus, Transition
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.trouble.recent import is_open
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

Facts = dict[str, Any]


def seen_by(desk: Any) -> Any:  # until the desk has it
    from types import SimpleNamespace

    return desk.seen() if hasattr(desk, "seen") else SimpleNamespace(silences=[], journal=[], age_seconds=None)


class Reason(NamedTuple):
    """A reason for the state, in words; since when in milliseconds since 1970, where that is known."""

    status: str
    words: str
    since_ms: int | None
    section: str


class Moment:
    """The things that sections are made of, as they are at one moment."""

    def __init__(self, context: EndpointContext, overview: Facts) -> None:
        self.context = context
        self.overview = overview
        self.monitor = context.lifecycle.monitor
        self.rounds = context.alerts()
        self.seen = seen_by(context.desk)
        self.now_ms = context.desk.now_ms()
        self.history: History | None = None
        with suppress(UnavailableError):
            self.history = context.queries.source()
        self.markers = [(round(each.time * 1000), each.version) for each in context.deployments.known]
        """Deployments, as plots mark them: the time and a label."""
        self.checks = sorted(self.monitor.report().checks, key=lambda check: -RANKS.index(_status_of(check)))
        known = list(self.rounds.report.alerts()) if self.rounds is not None else []
        self.ended = [alert for alert in known if alert.state == "resolved"]
        self.alerts = sorted(
            (alert for alert in known if alert.state != "resolved"),
            key=lambda alert: (alert.state, -RANKS.index(_weight(alert)), -alert.active_at_ms),
        )


def _state(moment: Moment) -> Facts:
    reasons = sorted(_reasons(moment), key=lambda reason: -RANKS.index(reason.status))
    status = reasons[0].status if reasons else "healthy"
    begins = [each.since_ms for each in reasons if each.status == status and each.since_ms is not None]
    changes = [_ms(each) for check in moment.checks for each in moment.monitor.history(check.name)[-1:]]
    changes += [alert.resolved_at_ms or 0 for alert in moment.ended]
    since_ms = min(begins, default=None) if reasons else max(changes, default=None)
    firing = [alert for alert in moment.alerts if alert.state == "firing" and _weight(alert) != "healthy"]
    return {"status": status, "reasons": reasons, "since_ms": since_ms, "firing": len(firing)}


def _reasons(moment: Moment) -> Iterable[Reason]:
    lifecycle, rounds = moment.context.lifecycle, moment.rounds
    if lifecycle.why_not_live():
        yield Reason("unhealthy", "The event loop of this process is blocked: it answers late or not at all.", None, "")
    if lifecycle.stopping:
        yield Reason("degraded", "The host is stopping.", None, "")
    elif lifecycle.why_not_started():
        yield Reason(UNKNOWN, "The host is starting.", None, "")
    if not moment.checks:
        yield Reason(UNKNOWN, "No check runs in this process.", None, "checks")
    for check in moment.checks:
        if (status := _status_of(check)) != "healthy":
            since = [_ms(each) for each in moment.monitor.history(check.name)[-1:]]
            words = f"Check {check.name} is {check.shown_status}{f': {check.message}' if check.message else ''}"
            yield Reason(status, words, since[0] if since else None, "checks")
    if rounds is not None and rounds.overview()["status"] == UNKNOWN:
        yield Reason(UNKNOWN, "It is not known yet which alerts fire.", None, "alerts")
    for alert in moment.alerts:
        if alert.state == "firing" and (status := _weight(alert)) != "healthy":
            summary = alert.annotations.get("summary") or "it fires"
            yield Reason(status, f"Alert {alert.label('alertname')}: {summary}", alert.fired_at_ms, "alerts")


def _status_of(check: CheckReport) -> str:
    """The check's part in the state: one that is not required makes it degraded at most."""
    if check.known and check.status is HealthStatus.UNHEALTHY and not check.required:
        return "degraded"
    return check.shown_status


def _weight(alert: AlertState) -> str:
    """The state that an alert stands for while it fires."""
    severity = alert.label("severity")
    return "unhealthy" if severity in _CRITICAL else "healthy" if severity in NO_TROUBLE else "degraded"


def _alerts(moment: Moment) -> Facts:
    now_ms, holds = moment.now_ms, [each for each in moment.seen.silences if each.state(moment.now_ms) != "expired"]
    shown = []
    for alert in moment.alerts[: MOST["alerts"]]:
        labels, notified = dict(alert.labels), notified_alert(alert)
        shown.append(
            {
                "name": labels.pop("alertname", ""),
                "severity": labels.pop("severity", ""),
                "weight": _weight(alert),
                "state": alert.state,
                "since_ms": alert.fired_at_ms or alert.active_at_ms,
                "annotations": alert.annotations,
                "labels": ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())),
                "matchers": [f'{name}="{value}"' for name, value in alert.labels],
                "fingerprint": fingerprint(dict(alert.labels)),
                "holds": [_hold(each) for each in holds if each.mutes(notified, now_ms)],
            }
        )
    off = moment.overview.get("alerts", "") if moment.rounds is None else ""
    problems = moment.rounds.troubles() if moment.rounds is not None else []
    holds = sorted(holds, key=lambda each: each.ends_at_ms)
    return {
        **{"alerts": shown, "more": len(moment.alerts) - len(shown), "off": off, "problems": problems},
        "holds": [_hold(each) | {"state": each.state(now_ms)} for each in holds[: MOST["holds"]]],
        "more_holds": max(0, len(holds) - MOST["holds"]),
        "told_by": moment.context.desk.told_by,
    }


def _hold(silence: Silence) -> Facts:
    facts = {"id": silence.id, "kind": silence.kind, "by": silence.created_by, "comment": silence.comment}
    times = {"since_ms": silence.starts_at_ms, "until_ms": silence.ends_at_ms}
    return facts | times | {"matchers": matchers_text(silence.matchers)}


def _checks(moment: Moment) -> Facts:
    end_ms = moment.now_ms - moment.now_ms % STRIP_STEP_MS
    shown, monitor = [], moment.monitor
    for check in moment.checks[: MOST["checks"]]:
        transitions = monitor.history(check.name)
        ratios = [monitor.uptime_ratio(check.name, timedelta(hours=hours)) for hours in (1, 24)]
        facts = {"name": check.name, "status": check.shown_status, "required": check.required, "stale": check.stale}
        facts |= {"message": check.message, "since_ms": _ms(transitions[-1]) if transitions else None}
        shown.append(facts | {"uptime": ratios, "segments": _segments(transitions, end_ms)})
    report = monitor.report()
    more = len(moment.checks) - len(shown)
    return {"checks": shown, "more": more, "end_ms": end_ms, "not_configured": report.not_configured}


def _segments(transitions: list[Transition], end_ms: int) -> list[tuple[int, int, str]]:
    """Times of the last hour, each with the status that a check had; before the first of them nothing is known."""
    starts = [(_ms(each), each.after.value if each.after is not None else UNKNOWN) for each in transitions]
    edges = [(end_ms - STRIP_MS, UNKNOWN), *starts, (end_ms, "")]
    segments = [
        (max(start, end_ms - STRIP_MS), min(end, end_ms), status)
        for (start, status), (end, _) in zip(edges, edges[1:], strict=False)
    ]
    return [each for each in segments if each[0] < each[1]]


def _values(section: str, moment: Moment) -> Facts:
    return {"values": list(read_values(moment.history, section)) if moment.history is not None else []}


def _errors(moment: Moment) -> Facts:
    groups, age_seconds = moment.context.trouble.errors.known()
    newest = nlargest(MOST["errors"], groups.items(), key=lambda item: item[1]["last_seen"])
    shown = [group | {"fingerprint": name, "open": is_open(group)} for name, group in newest]
    return {"groups": shown, "more": len(groups) - len(shown), "shared": age_seconds is not None}


def _slow(moment: Moment) -> Facts:
    trouble = moment.context.trouble
    requests = trouble.requests()
    shown = nlargest(MOST["slow"], requests, key=itemgetter("time"))
    return {"requests": shown, "more": len(requests) - len(shown), "slow_seconds": trouble.slow_seconds}


def _journal(moment: Moment) -> Facts:
    entries: list[tuple[int, str, str, str, str]] = []
    """The time, what it is about, what came of it, whose it is, and words."""
    for check in moment.checks:
        for each in moment.monitor.history(check.name):
            before, after = ((side.value if side else UNKNOWN) for side in (each.before, each.after))
            entries.append((_ms(each), "check", after, check.name, f"was {before}. {each.message}"))
    for alert in (*moment.alerts, *moment.ended):
        for at_ms, state in ((alert.fired_at_ms, "firing"), (alert.resolved_at_ms, "resolved")):
            if at_ms is not None:
                entries.append((at_ms, "alert", state, alert.label("alertname"), alert.annotations.get("summary", "")))
    for each in moment.seen.journal:
        names = ", ".join(sorted({alert["alertname"] for alert in each["alerts"]}))
        words = f"{each['reason'].replace('_', ' ')}, to {each['receiver']}. {each['error'] or ''}"
        entries.append((each["at_ms"], "notification", each["outcome"], names, words))
    shown = nlargest(MOST["journal"], entries)
    return {"entries": shown, "more": len(entries) - len(shown)}


def _loggers(moment: Moment) -> Facts:
    known = logging.root.manager.loggerDict.copy()
    names = [name for name, each in sorted(known.items()) if isinstance(each, logging.Logger) and each.level]
    shown = [moment.context.levels.describe(name) for name in ("root", *names[: MOST["loggers"] - 1])]
    return {"loggers": shown, "more": 1 + len(names) - len(shown), "names": sorted(known)[: MOST["loggers"]]}


def _about(moment: Moment) -> Facts:
    notes = {name: note for name, note in moment.overview.items() if isinstance(note, str)}
    return {
        "notes": notes,
        "problems": moment.overview.get("settings_problems", ()),
        "not_configured": moment.monitor.report().not_configured,
        "deployments": moment.context.deployments.known[:-6:-1],
    }


def _ms(transition: Transition) -> int:
    return round(transition.at.timestamp() * 1000)


SECTIONS: Final[dict[str, Callable[[Moment], Facts]]] = {
    "state": _state,
    "alerts": _alerts,
    "checks": _checks,
    "http": lambda _moment: {},
    "queue": lambda _moment: {},
    "workers": partial(_values, "workers"),
    "database": partial(_values, "database"),
    "errors": _errors,
    "slow": _slow,
    "journal": _journal,
    "loggers": _loggers,
    "about": _about,
}
