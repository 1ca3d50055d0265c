"""Health checks over what the collectors read last. They ask nobody, so they cannot hang.

A new check is a function here, and a line in `_CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ordinaut_ext_observability.collectors.facts import (
    UNREAD,
    DatabaseFacts,
    QueueFacts,
    RedisFacts,
    SchedulerFacts,
    WorkerFacts,
)
from ordinaut_ext_observability.collectors.states import CollectorStates
from ordinaut_ext_observability.errors import Problem

_BUSY_SHARE = 0.9
"""Share of all connections, or of the memory: what is left is gone in minutes where it is asked for."""

_SLOW_SECONDS = 1.0
"""An answer within the machine takes less than a millisecond."""

_WAITING_SECONDS = 60.0
_LONG_WAITING_SECONDS = 300.0
"""Longest waits of due work, as the host's own alert rules have them."""

# The source answers, but not all of it can be seen, or it is busy: that is no outage.
_DEGRADING = frozenset((Problem.TOO_MANY_CONNECTIONS, Problem.NO_PERMISSION, Problem.MISSING_TABLE))

Status = Literal["healthy", "degraded", "unhealthy", "unknown"]

ReadElsewhere = Callable[[str], float | None]
"""Gives the seconds since another process, which leads and shows signs of life, read what this collector reads."""


class Finding(NamedTuple):
    """The result of a check."""

    status: Status
    message: str = ""
    details: Mapping[str, Any] = {}


def _judge_database(facts: DatabaseFacts, _: CollectorStates) -> Finding:
    """Busy when it is slow or nearly out of connections."""
    details = _details(facts, "server_version", "connections", "max_connections", "in_recovery")
    if facts.connections >= _BUSY_SHARE * facts.max_connections:
        message = f"{facts.connections} of {facts.max_connections} connections are in use"
        return Finding("degraded", message, details)
    return _judge_latency(facts.latency_seconds, details)


def _judge_redis(facts: RedisFacts, _: CollectorStates) -> Finding:
    """Busy when it is slow or nearly full."""
    groups = {f"{each.stream}/{each.group}": _details(each, "consumers", "pending", "lag") for each in facts.groups}
    details = _details(facts, "used_memory_bytes") | {"streams": facts.stream_lengths, "consumer_groups": groups}
    if facts.max_memory_bytes and (facts.used_memory_bytes or 0) >= _BUSY_SHARE * facts.max_memory_bytes:
        return Finding("degraded", "its memory is nearly used up", details)
    return _judge_latency(facts.latency_seconds, details)


def _judge_latency(seconds: float, details: dict[str, Any]) -> Finding:
    details["latency_ms"] = round(seconds * 1000, 3)
    if seconds > _SLOW_SECONDS:
        return Finding("degraded", f"an answer takes {seconds:.1f} s", details)
    return Finding("healthy", "", details)


def _judge_queue(facts: QueueFacts, states: CollectorStates) -> Finding:
    """Troubled when work waits for long, or some may run twice."""
    age = facts.oldest_claimable_age_seconds
    details = {
        "depth": facts.claimable,
        "depth_is_estimate": facts.claimable_is_estimate,
        "depth_by_priority": {str(priority): depth for priority, depth in facts.claimable_by_priority.items()},
        "oldest_age_seconds": round(age, 3),
        "in_progress": facts.in_progress,
        "expired_leases": {"owner_alive": facts.expired_owner_alive, "owner_dead": facts.expired_owner_dead},
        "age_seconds": round(states.age_seconds("queue"), 1),
    }
    if age > _WAITING_SECONDS:
        return Finding(_lateness(age), f"work has been waiting for {age:.0f} s", details)
    if facts.expired_owner_alive:
        message = f"{facts.expired_owner_alive} leases ran out while their worker lives: the work may run twice"
        return Finding("degraded", message, details)
    return Finding("healthy", "", details)


def _judge_workers(facts: WorkerFacts, states: CollectorStates) -> Finding:
    """Troubled when nobody works."""
    details = {
        "active_workers": facts.active,
        "active_jobs": facts.busy,
        "items_processed": facts.processed_total,
        **_details(facts, "newest_heartbeat_age_seconds", "oldest_heartbeat_age_seconds"),
    }
    if facts.active or facts.busy:
        return Finding("healthy", "", details)
    queue: QueueFacts | None = states.of("queue").facts
    if queue is not None and queue.claimable:
        return Finding("unhealthy", "work is waiting and no worker shows signs of life", details)
    return Finding("degraded", "no worker shows signs of life", details)


def _judge_scheduler(facts: SchedulerFacts, _: CollectorStates) -> Finding:
    """Troubled when the schedule is not kept."""
    details = _details(facts, "jobs", "overdue_jobs", "next_run_in_seconds") | {"schedules": facts.active_schedules}
    late = facts.oldest_overdue_seconds
    if late > _WAITING_SECONDS:
        message = f"{facts.overdue_jobs} jobs are overdue, the oldest by {late:.0f} s"
        return Finding(_lateness(late), message, details)
    if facts.active_schedules is None:
        return Finding("degraded", "task cannot be read: nobody knows what should be scheduled", details)
    if facts.active_schedules and not facts.jobs:
        why = "no job is scheduled" if facts.table_exists else "the scheduler has never run"
        return Finding("degraded", f"{facts.active_schedules} tasks have a schedule, and {why}", details)
    return Finding("healthy", "", details)


_CHECKS: dict[str, tuple[str, str, Callable[[Any, CollectorStates], Finding]]] = {
    "database": ("PostgreSQL", "", _judge_database),
    "queue": ("PostgreSQL", "due_work", _judge_queue),
    "workers": ("PostgreSQL", "worker_heartbeat", _judge_workers),
    "scheduler": ("PostgreSQL", "apscheduler_jobs", _judge_scheduler),
    "redis": ("Redis", "", _judge_redis),
}
"""Server, table that the leader alone reads (empty: every process asks the server), and what makes the finding."""


def checks_of(server: str) -> list[str]:
    """The names of the checks of `PostgreSQL` or `Redis`."""
    return [name for name, (of, _, _) in _CHECKS.items() if of == server]


@dataclass(frozen=True, slots=True)
class CollectedChecks:
    """Finds out how it stands, from the states."""

    states: CollectorStates
    limit_seconds: float
    """Age from which on a reading says nothing any more."""
    read_elsewhere: ReadElsewhere | None
    """None where processes have no store to tell each other what they read."""

    def find(self, name: str) -> Finding:
        """The finding of the check of this name."""
        server, table, judge = _CHECKS[name]
        if table and not self.states.leads:
            return self._elsewhere(name)
        facts, _, problem = self.states.of(name)
        if problem is not None and table:
            return Finding("degraded", f"{table} cannot be read: PostgreSQL {problem.words}")
        if problem is not None and (facts is None or name == "database" or problem not in _DEGRADING):
            status: Status = "degraded" if problem in _DEGRADING else "unhealthy"
            return Finding(status, f"{server} {problem.words}", {"problem": problem.value})
        if facts is None:
            return Finding("unknown", "not read yet")
        age = self.states.age_seconds(name)
        if age > self.limit_seconds:
            status = "unhealthy" if name == "database" else "degraded"
            return Finding(status, f"no recent reading: the last was {age:.0f} s ago", {"age_seconds": round(age, 1)})
        return judge(facts, self.states)

    def _elsewhere(self, name: str) -> Finding:
        """The finding where this process does not read for all: another may, and only its word counts."""
        database, mode = self.states.of("database"), self.states.mode
        if database is UNREAD:
            return Finding("unknown", "not read yet")
        if database.problem is not None:
            return Finding("unknown", f"PostgreSQL {database.problem.words}")
        if mode.startswith("none:"):
            return Finding("unknown", f"no process reads it: {mode.removeprefix('none: ')}")
        if self.read_elsewhere is None:
            return Finding(
                "unknown",
                "another process holds the lock; processes tell each other whether they read only through a store: "
                "set REDIS_URL or ORDINAUT_OBS_STORE",
            )
        age = self.read_elsewhere(name)
        if age is None or age > self.limit_seconds:
            return Finding("unknown", "another process holds the lock, and has not said lately that it reads this")
        return Finding("healthy", "", {"read_by": "another process", "age_seconds": round(age, 1)})


def _details(facts: object, *names: str) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in names}


def _lateness(seconds: float) -> Status:
    return "unhealthy" if seconds > _LONG_WAITING_SECONDS else "degraded"
