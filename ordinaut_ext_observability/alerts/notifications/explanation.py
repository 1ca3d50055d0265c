"""What may be behind an alert: collected once for each delivery, by the process that sends it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from ordinaut_ext_observability.alerts.builtin import threshold_of
from ordinaut_ext_observability.alerts.fingerprint import fingerprint
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.report import Report
from ordinaut_ext_observability.alerts.results import Results
from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits
from ordinaut_ext_observability.trouble.recent import RecentTrouble

_LIMITS: Final = Limits(samples=500_000, seconds=0.5)
"""A page does not wait for an explanation."""
_RECENT_SECONDS: Final = 3600.0
"""What is older is hardly behind an alert of now."""
_TIMED: Final = "sum by (method, endpoint) (rate(orchestrator_http_request_duration_seconds_{}[5m]))"
_RUNS: Final = 'sum by (task_id) (increase({}{{status!="success"}}[1h]))'
_QUERIES: Final = {
    "Most failing endpoint": (
        'sum by (method, endpoint) (increase(orchestrator_http_requests_total{status_code=~"5.."}[5m])) > 0.5',
        "{method} {endpoint}, about {value:.0f} failed requests in 5 minutes",
    ),
    "Slowest endpoint": (
        f"{_TIMED.format('sum')} / {_TIMED.format('count')} > 1",
        "{method} {endpoint}, {value:.1f} s on average in 5 minutes",
    ),
    "Most failing task": (
        f"({_RUNS.format('orchestrator_task_runs_total')} or {_RUNS.format('orchestrator_runs_total')}) > 0.5",
        "{task_id}, about {value:.0f} failed runs in an hour",
    ),
}

_ERROR: Final = "{exception_type} at {where}, {count} times, last {last_seen:.16} UTC, group {group}, correlation id {correlation_id}"
_REQUEST: Final = "{method} {route}, status {status_code}, {time:.16} UTC, correlation id {correlation_id}"


@dataclass(frozen=True)
class Explanation:
    """Gives facts that explain alerts."""

    runs_here: str
    """Words for which version runs since when."""
    metrics: Metrics
    history: History
    trouble: RecentTrouble
    report: Callable[[], Report]

    async def explain(self, alerts: Sequence[NotifiedAlert]) -> dict[str, Any]:
        """The facts: `values` by fingerprint, and `about`, texts by their names. Never raises."""
        facts: dict[str, Any] = {"about": {}, "values": {}}
        try:
            async for _ in Slicer().slices(self._collect({alert.fingerprint for alert in alerts}, facts)):
                pass
        except Exception:  # noqa: BLE001 - counted; it is told all the same
            self.metrics.count_internal_error("explanation")
        facts["about"]["Sent by"] = f"{socket.gethostname()}, {self.runs_here}"
        return facts

    def _collect(self, wanted: set[str], facts: dict[str, Any]) -> Iterator[None]:
        for each in self.report().rules():
            yield
            for labels, alert in each.state.alerts.items():
                if (known := fingerprint(dict(labels))) in wanted:
                    limit = threshold_of(each.rule.query)
                    facts["values"][known] = f"{alert.value:.4g}{'' if limit is None else f' (threshold {limit:g})'}"
        about, now = facts["about"], wall_seconds()
        self._put_trouble(about, timestamp(now - _RECENT_SECONDS))
        for name, (query, words) in _QUERIES.items():
            found = yield from Results(self.history).vector(parse(f"topk(1, {query})"), round(now * 1000), _LIMITS)
            for labels, value in found:
                about[name] = words.format_map(
                    {"method": "", "endpoint": "", "task_id": "", **dict(labels), "value": value}
                )

    def _put_trouble(self, about: dict[str, str], since: str) -> None:
        newest = self.trouble.errors.newest_group()
        if newest is not None and newest[1]["last_seen"] >= since:
            about["Newest error"] = _ERROR.format_map({**newest[1], "group": newest[0]})
        failed = [each for each in self.trouble.requests() if each["status_code"] >= 500 and each["time"] >= since]
        if failed:
            about["Failed request"] = _REQUEST.format_map(max(failed, key=itemgetter("time")))
