"""The newest values of some metrics, in words: of workers, the scheduler, PostgreSQL, Redis, as the history has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, is_stale
from ordinaut_ext_observability.promql.matchers import LabelMatcher

_LOOKBACK_MS: Final = 5 * 60_000
"""Age from which on a sample is no current value: that of queries."""
_SIZES: Final = {
    "s": ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
    "%": ((0.01, "%"),),
}


class Value(NamedTuple):
    """A title, the series it has its value from, `metric{label="value"}`, its unit, and the values that are trouble."""

    title: str
    metric: str
    label: tuple[str, str] | None = None
    unit: str = ""
    good: tuple[float, float] = (float("-inf"), float("inf"))
    """The least and the greatest value that need no look."""


_ALIVE, _DEAD, _BUSY = ("owner", "alive"), ("owner", "dead"), ("state", "busy")
VALUES: Final = {
    "workers": (
        Value("Workers alive", "orchestrator_active_workers", good=(1, 1e9)),
        Value("Workers busy", "orchestrator_workers", _BUSY),
        Value("Oldest heartbeat", "orchestrator_worker_heartbeat_age_seconds", ("which", "oldest"), "s"),
        Value("Work in progress", "orchestrator_work_items_in_progress"),
        Value("Leases run out, worker alive", "orchestrator_expired_leases", _ALIVE, good=(0, 0)),
        Value("Leases run out, worker gone", "orchestrator_expired_leases", _DEAD, good=(0, 0)),
        Value("Finished in the last hour", "orchestrator_work_items_finished", ("window", "1h")),
        Value("Scheduler: jobs", "orchestrator_scheduler_jobs"),
        Value("Scheduler: jobs overdue", "orchestrator_scheduler_overdue_jobs", good=(0, 0)),
        Value("Scheduler: overdue for", "orchestrator_scheduler_oldest_overdue_seconds", None, "s", (0, 0)),
    ),
    "database": (
        Value("Sessions that wait for a lock", "orchestrator_database_blocked_sessions", good=(0, 0)),
        Value("Longest transaction", "orchestrator_database_longest_transaction_seconds", None, "s", (0, 300)),
        Value("Longest statement", "orchestrator_database_longest_query_seconds", None, "s", (0, 60)),
        Value("Idle in a transaction", "orchestrator_database_idle_in_transaction_seconds", None, "s", (0, 60)),
        Value("Connections at work", "orchestrator_database_connections_active"),
        Value("Connections allowed", "orchestrator_database_max_connections"),
        Value("Found in the cache", "orchestrator_database_cache_hit_ratio", None, "%"),
        Value("Redis: memory", "orchestrator_redis_memory_used_bytes", None, "B"),
        Value("Redis: clients", "orchestrator_redis_connected_clients"),
        Value("Redis: keys evicted", "orchestrator_redis_evicted_keys", good=(0, 0)),
    ),
}
"""Values by section."""


def read_values(history: History, section: str) -> Iterator[tuple[str, str, bool]]:
    """The title, the value in words and whether it needs a look, of those that are known."""
    now_ms = history.now_ms()
    for each in VALUES[section]:
        matchers = [LabelMatcher(NAME, "=", each.metric)]
        matchers += [LabelMatcher(each.label[0], "=", each.label[1])] if each.label else []
        for series in history.select(matchers, now_ms - _LOOKBACK_MS, now_ms):
            if series is not None and not is_stale(value := series.values[-1]):
                yield each.title, in_words(value, each.unit), not each.good[0] <= value <= each.good[1]


def in_words(value: float | None, unit: str = "") -> str:
    """A number with its unit, as people write it: `in_words(90, "s")` is "1.5 min"; nothing known is a dash."""
    if value is None or value != value:  # noqa: PLR0124 - true of a NaN alone
        return "–"
    for size, name in _SIZES.get(unit, ()):
        if abs(value) >= size or unit == "%":
            return f"{value / size:.3g} {name}".replace(" %", "%")
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}{' s' if unit == 's' else ''}"
