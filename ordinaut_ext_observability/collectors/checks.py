"""Health checks over what the collectors read last. They ask nobody, so they cannot hang.

A new check is a method here, and its name in `POSTGRESQL` or `REDIS`.
"""

from __future__ import annotations

from collections.abc import Callable
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

POSTGRESQL = ("database", "queue", "workers", "scheduler")
"""The checks of an installation with a database."""

REDIS = ("redis",)

_BUSY_SHARE = 0.9
"""Of the connections, or of the memory, that there are: what is left is gone in minutes where it is asked for."""

_SLOW_SECONDS = 1.0
"""An answer within the machine takes less than a millisecond."""

_WAITING_SECONDS = 60.0
_LONG_WAITING_SECONDS = 300.0
"""How long due work may wait: as the host's own alert rules have it."""

# The source answers, but not all of it can be seen, or it is busy: that is no outage.
_DEGRADING = frozenset((Problem.TOO_MANY_CONNECTIONS, Problem.NO_PERMISSION, Problem.MISSING_TABLE))

ReadElsewhere = Callable[[str], float | None]
"""Gives the seconds since another process, which leads and shows signs of life, read what this collector reads."""


Status = Literal["healthy", "degraded", "unhealthy", "unknown"]


class Finding(NamedTuple):
    """The result of a check."""

    status: Status
    message: str = ""
    details: dict[str, Any] | None = None


_NOTHING = Finding("unknown", "not read yet")


@dataclass(frozen=True, slots=True)
class CollectedChecks:
    """The checks, each a method of its name."""

    states: CollectorStates
    limit_seconds: float
    """Age from which on a reading says nothing any more."""
    read_elsewhere: ReadElsewhere | None
    """None where processes have no store to tell each other what they read."""

    def database(self) -> Finding:
        """Down when it does not answer; busy when it is slow or nearly out of connections."""
        problem = self.states.of("database").problem
        if problem is not None:
            return _trouble("PostgreSQL", problem)
        facts: DatabaseFacts | Finding = self._recent("database", "unhealthy")
        if isinstance(facts, Finding):
            return facts
        details = {
            "latency_ms": round(facts.latency_seconds * 1000, 3),
            "server_version": facts.server_version,
            "connections": facts.connections,
            "max_connections": facts.max_connections,
            "in_recovery": facts.in_recovery,
        }
        if facts.connections >= _BUSY_SHARE * facts.max_connections:
            message = f"{facts.connections} of {facts.max_connections} connections are in use"
            return Finding("degraded", message, details)
        return _quick(facts.latency_seconds, details)

    def redis(self) -> Finding:
        """Down when it does not answer; busy when it is slow or nearly full."""
        read, _, problem = self.states.of("redis")
        if problem is not None and (problem not in _DEGRADING or read is None):
            return _trouble("Redis", problem)
        facts: RedisFacts | Finding = self._recent("redis", "degraded")
        if isinstance(facts, Finding):
            return facts
        details = {
            "latency_ms": round(facts.latency_seconds * 1000, 3),
            "used_memory_bytes": facts.used_memory_bytes,
            "streams": facts.stream_lengths,
            "consumer_groups": {
                f"{each.stream}/{each.group}": {"consumers": each.consumers, "pending": each.pending, "lag": each.lag}
                for each in facts.groups
            },
        }
        if facts.max_memory_bytes and (facts.used_memory_bytes or 0) >= _BUSY_SHARE * facts.max_memory_bytes:
            return Finding("degraded", "its memory is nearly used up", details)
        return _quick(facts.latency_seconds, details)

    def queue(self) -> Finding:
        """Troubled when work waits for long, or some may run twice."""
        facts: QueueFacts | Finding = self._read_by_leader("queue", "due_work")
        if isinstance(facts, Finding):
            return facts
        details = {
            "depth": facts.claimable,
            "depth_is_estimate": facts.claimable_is_estimate,
            "depth_by_priority": {str(priority): depth for priority, depth in facts.claimable_by_priority.items()},
            "oldest_age_seconds": round(facts.oldest_claimable_age_seconds, 3),
            "in_progress": facts.in_progress,
            "expired_leases": {"owner_alive": facts.expired_owner_alive, "owner_dead": facts.expired_owner_dead},
            "age_seconds": round(self._age("queue"), 1),
        }
        age = facts.oldest_claimable_age_seconds
        if age > _WAITING_SECONDS:
            return Finding(_lateness(age), f"work has been waiting for {age:.0f} s", details)
        if facts.expired_owner_alive:
            message = f"{facts.expired_owner_alive} leases ran out while their worker lives: the work may run twice"
            return Finding("degraded", message, details)
        return Finding("healthy", "", details)

    def workers(self) -> Finding:
        """Troubled when nobody works."""
        facts: WorkerFacts | Finding = self._read_by_leader("workers", "worker_heartbeat")
        if isinstance(facts, Finding):
            return facts
        details = {
            "active_workers": facts.active,
            "active_jobs": facts.busy,
            "newest_heartbeat_age_seconds": facts.newest_heartbeat_age_seconds,
            "oldest_heartbeat_age_seconds": facts.oldest_heartbeat_age_seconds,
            "items_processed": facts.processed_total,
        }
        if facts.active or facts.busy:
            return Finding("healthy", "", details)
        queue: QueueFacts | None = self.states.of("queue").facts
        if queue is not None and queue.claimable:
            return Finding("unhealthy", "work is waiting and no worker shows signs of life", details)
        return Finding("degraded", "no worker shows signs of life", details)

    def scheduler(self) -> Finding:
        """Troubled when the schedule is not kept."""
        facts: SchedulerFacts | Finding = self._read_by_leader("scheduler", "apscheduler_jobs")
        if isinstance(facts, Finding):
            return facts
        details = {
            "jobs": facts.jobs,
            "overdue_jobs": facts.overdue_jobs,
            "next_run_in_seconds": facts.next_run_in_seconds,
            "schedules": facts.active_schedules,
        }
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

    def _read_by_leader(self, name: str, table: str) -> Any:
        """The facts that only the leader reads, or the finding where there are none of late."""
        if not self.states.leads:
            return self._elsewhere(name)
        problem = self.states.of(name).problem
        if problem is not None:
            return Finding("degraded", f"{table} cannot be read: PostgreSQL {problem.words}")
        return self._recent(name, "degraded")

    def _recent(self, name: str, status: Status) -> Any:
        """The facts, or the finding with this status where they are too old."""
        facts, age = self.states.of(name).facts, self._age(name)
        if facts is not None and age > self.limit_seconds:
            return Finding(status, f"no recent reading: the last was {age:.0f} s ago", {"age_seconds": round(age, 1)})
        return _NOTHING if facts is None else facts

    def _age(self, name: str) -> float:
        return self.states.clock.monotonic() - (self.states.of(name).collected_at or 0.0)

    def _elsewhere(self, name: str) -> Finding:
        """The finding where this process does not read for all: another may, and only its word counts."""
        database, mode = self.states.of("database"), self.states.mode
        if database is UNREAD:
            return _NOTHING
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


def _trouble(server: str, problem: Problem) -> Finding:
    return Finding(
        "degraded" if problem in _DEGRADING else "unhealthy", f"{server} {problem.words}", {"problem": problem.value}
    )


def _quick(latency_seconds: float, details: dict[str, Any]) -> Finding:
    if latency_seconds > _SLOW_SECONDS:
        return Finding("degraded", f"an answer takes {latency_seconds:.1f} s", details)
    return Finding("healthy", "", details)


def _lateness(seconds: float) -> Status:
    return "unhealthy" if seconds > _LONG_WAITING_SECONDS else "degraded"
