"""Facts that may be behind an alert: collected once for each delivery, by the process that sends it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from ordinaut_ext_observability.alerts.builtin import threshold_of
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.report import Report
from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import Labels, labels_of
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.trouble.recent import RecentTrouble

_SAMPLES, _SECONDS = 500_000, 0.5
"""Bounds on each query: a page does not wait for an explanation."""
_RECENT_SECONDS: Final = 3600.0
"""An error or request that is older is hardly behind an alert of now."""
_TIMED: Final = "sum by (method, endpoint) (rate(orchestrator_http_request_duration_seconds_{}[5m]))"
_RUNS: Final = 'sum by (task_id) (increase({}{{status!="success"}}[1h]))'
_FAILED: Final = 'sum by (method, endpoint) (increase(orchestrator_http_requests_total{status_code=~"5.."}[5m]))'
_QUERIES: Final = {
    "Most failed requests in 5 minutes": f"{_FAILED} > 0.5",
    "Slowest endpoint in 5 minutes, seconds": f"{_TIMED.format('sum')} / {_TIMED.format('count')} > 1",
    "Most failed runs in an hour": (
        f"({_RUNS.format('orchestrator_task_runs_total')} or {_RUNS.format('orchestrator_runs_total')}) > 0.5"
    ),
}
_ERROR: Final = "{exception_type} at {where}, {count} times, last {last_seen:.16} UTC, correlation id {correlation_id}"
_REQUEST: Final = "{method} {route}, status {status_code}, {time:.16} UTC, correlation id {correlation_id}"


async def explain_alerts(
    runs_here: str,
    history: History,
    trouble: RecentTrouble,
    report: Callable[[], Report],
    alerts: Sequence[NotifiedAlert],
) -> dict[str, Any]:
    """The facts: `values` by fingerprint, and `about`, texts by their names; `runs_here` is one. Never raises."""
    values: dict[str, str] = {}
    about: dict[str, str] = {}
    wanted = {labels_of(alert.labels): alert.fingerprint for alert in alerts}
    try:
        async for _ in Slicer().slices(chain(_values(report(), wanted, values), _causes(history, trouble, about))):
            pass
    except Exception as error:  # noqa: BLE001 - it is told all the same
        about["Not explained"] = f"the extension failed: {type(error).__name__}"
    return {"values": values, "about": about | {"Sent by": f"{socket.gethostname()}, {runs_here}"}}


def _values(report: Report, wanted: Mapping[Labels, str], values: dict[str, str]) -> Iterator[None]:
    for each in report.rules():
        yield
        for labels in wanted.keys() & each.state.alerts.keys():
            limit = threshold_of(each.rule.query)
            value = f"{each.state.alerts[labels].value:.6g}"
            values[wanted[labels]] = value if limit is None else f"{value} (threshold {limit:g})"


def _causes(history: History, trouble: RecentTrouble, about: dict[str, str]) -> Iterator[None]:
    with forks_held_off():
        from ordinaut_ext_observability.alerts.results import Results
        from ordinaut_ext_observability.promql.parse import parse
        from ordinaut_ext_observability.promql.query import Limits

    now, limits = wall_seconds(), Limits(samples=_SAMPLES, seconds=_SECONDS)
    since, newest = timestamp(now - _RECENT_SECONDS), trouble.errors.newest_group()
    if newest is not None and newest[1]["last_seen"] >= since:
        about["Newest error"] = f"{_ERROR.format_map(newest[1])}, group {newest[0]}"
    failed = [each for each in trouble.requests() if each["status_code"] >= 500 and each["time"] >= since]
    if failed:
        about["Failed request"] = _REQUEST.format_map(max(failed, key=itemgetter("time")))
    for name, query in _QUERIES.items():
        found = yield from Results(history).vector(parse(f"topk(1, {query})"), round(now * 1000), limits)
        for labels, value in found:
            about[name] = f"{' '.join(text for _, text in reversed(labels))} ({round(value, 1):g})"
