"""Health checks over what the collectors found out last. They ask nobody, so they cannot hang."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.collectors.facts import (
    UNREAD,
    Collected,
    DatabaseFacts,
    Problem,
    QueueFacts,
    RedisFacts,
    SchedulerFacts,
    WorkerFacts,
)
from ordinaut_ext_observability.health.model import HealthStatus, Outcome, unknown
from ordinaut_ext_observability.health.monitor import HealthMonitor

if TYPE_CHECKING:
    from ordinaut_ext_observability.collectors.collector import SystemCollector

_BUSY_SHARE = 0.9
"""Of the connections, or of the memory, that there are."""

_SLOW_SECONDS = 1.0
_WAITING_SECONDS = 60.0
_LONG_WAITING_SECONDS = 300.0
"""How long due work may wait: as the host's own alert rules have it."""

# The source answers, but not all of it can be seen, or it is busy: that is no outage.
_DEGRADING = frozenset((Problem.TOO_MANY_CONNECTIONS, Problem.NO_PERMISSION, Problem.MISSING_TABLE))

_NOTHING = unknown("not read yet")

ReadElsewhere = Callable[[str], float | None]
"""Gives the seconds since another process, which leads and shows signs of life, read what this collector reads."""


@dataclass(frozen=True, slots=True)
class Reckoning:
    """How old readings are, and may be; times are on the monotonic clock."""

    now: float
    limit_seconds: float
    """Of the age of a reading."""

    def missing(self, collected: Collected[Any], status: HealthStatus) -> Outcome | None:
        """What is said, with this status, where there is no reading, or none of late; None where there is one."""
        if collected.collected_at is None or collected.facts is None:
            return _NOTHING
        age = self.now - collected.collected_at
        if age > self.limit_seconds:
            return Outcome(status, f"no recent reading: the last was {age:.0f} s ago", {"age_seconds": round(age, 1)})
        return None


def register_database_checks(
    monitor: HealthMonitor,
    collector: Callable[[], SystemCollector | None],
    reckon: Callable[[], Reckoning],
    *,
    required: bool,
    read_elsewhere: ReadElsewhere | None,
) -> None:
    """The checks `database`, `queue`, `workers` and `scheduler`, of a collector that may not be made yet.

    `read_elsewhere` is None where processes have no store to tell each other what they read.
    """

    def database() -> Outcome:
        made = collector()
        return database_outcome(made.database if made is not None else UNREAD, reckon())

    def led(name: str, outcome: Callable[[SystemCollector, Reckoning], Outcome]) -> Callable[[], Outcome]:
        def check() -> Outcome:
            made, reckoning = collector(), reckon()
            if made is None:
                return _NOTHING
            return outcome(made, reckoning) if made.leads else _elsewhere(name, made, reckoning, read_elsewhere)

        return check

    monitor.register_check("database", database, required=required)
    outcomes: dict[str, Callable[[SystemCollector, Reckoning], Outcome]] = {
        "queue": lambda made, reckoning: queue_outcome(made.queue, reckoning),
        "workers": lambda made, reckoning: workers_outcome(made.workers, made.queue, reckoning),
        "scheduler": lambda made, reckoning: scheduler_outcome(made.scheduler, reckoning),
    }
    for name, outcome in outcomes.items():
        monitor.register_check(name, led(name, outcome), required=False)


def _elsewhere(name: str, made: SystemCollector, reckoning: Reckoning, read_elsewhere: ReadElsewhere | None) -> Outcome:
    """The outcome where this process does not read for all: another may, and only its word counts."""
    if made.database == UNREAD:
        return _NOTHING
    if made.database.problem is not None:
        return unknown(f"PostgreSQL {_words(made.database.problem)}")
    if made.mode.startswith("none:"):
        return unknown(f"no process reads it: {made.mode.removeprefix('none: ')}")
    if read_elsewhere is None:
        return unknown(
            "another process holds the lock; processes tell each other whether they read only through a store: set "
            "REDIS_URL or ORDINAUT_OBS_STORE"
        )
    age = read_elsewhere(name)
    if age is None or age > reckoning.limit_seconds:
        return unknown("another process holds the lock, and has not said lately that it reads this")
    return Outcome(HealthStatus.HEALTHY, "", {"read_by": "another process", "age_seconds": round(age, 1)})


def register_redis_check(
    monitor: HealthMonitor, state: Callable[[], Collected[RedisFacts]], reckon: Callable[[], Reckoning]
) -> None:
    """The check `redis`."""
    monitor.register_check("redis", lambda: redis_outcome(state(), reckon()), required=False)


def database_outcome(collected: Collected[DatabaseFacts], reckoning: Reckoning) -> Outcome:
    """Down when it does not answer; busy when it is slow or nearly out of connections."""
    if collected.problem is not None:
        return _trouble("PostgreSQL", collected.problem)
    missing, facts = reckoning.missing(collected, HealthStatus.UNHEALTHY), collected.facts
    if missing is not None or facts is None:
        return missing or _NOTHING
    details = {
        "latency_ms": round(facts.latency_seconds * 1000, 3),
        "server_version": facts.server_version,
        "connections": facts.connections,
        "max_connections": facts.max_connections,
        "in_recovery": facts.in_recovery,
    }
    if facts.connections >= _BUSY_SHARE * facts.max_connections:
        message = f"{facts.connections} of {facts.max_connections} connections are in use"
        return Outcome(HealthStatus.DEGRADED, message, details)
    if facts.latency_seconds > _SLOW_SECONDS:
        return Outcome(HealthStatus.DEGRADED, f"an answer takes {facts.latency_seconds:.1f} s", details)
    return Outcome(HealthStatus.HEALTHY, "", details)


def redis_outcome(collected: Collected[RedisFacts], reckoning: Reckoning) -> Outcome:
    """Down when it does not answer; busy when it is slow or nearly full."""
    if collected.problem is not None and (collected.problem not in _DEGRADING or collected.facts is None):
        return _trouble("Redis", collected.problem)
    missing, facts = reckoning.missing(collected, HealthStatus.DEGRADED), collected.facts
    if missing is not None or facts is None:
        return missing or _NOTHING
    details: dict[str, Any] = {
        "latency_ms": round(facts.latency_seconds * 1000, 3),
        "used_memory_bytes": facts.used_memory_bytes,
        "streams": facts.stream_lengths,
        "consumer_groups": {
            f"{group.stream}/{group.group}": {"consumers": group.consumers, "pending": group.pending, "lag": group.lag}
            for group in facts.groups
        },
    }
    if facts.max_memory_bytes and facts.used_memory_bytes >= _BUSY_SHARE * facts.max_memory_bytes:
        return Outcome(HealthStatus.DEGRADED, "its memory is nearly used up", details)
    if facts.latency_seconds > _SLOW_SECONDS:
        return Outcome(HealthStatus.DEGRADED, f"an answer takes {facts.latency_seconds:.1f} s", details)
    return Outcome(HealthStatus.HEALTHY, "", details)


def queue_outcome(collected: Collected[QueueFacts], reckoning: Reckoning) -> Outcome:
    """How long work waits, and whether some may run twice."""
    unknown = _unknown("due_work", collected, reckoning)
    facts = collected.facts
    if unknown is not None or facts is None:
        return unknown or _NOTHING
    details = {
        "depth": facts.claimable,
        "depth_is_estimate": facts.claimable_is_estimate,
        "depth_by_priority": {str(priority): depth for priority, depth in facts.claimable_by_priority.items()},
        "oldest_age_seconds": round(facts.oldest_claimable_age_seconds, 3),
        "in_progress": facts.in_progress,
        "expired_leases": {"owner_alive": facts.expired_owner_alive, "owner_dead": facts.expired_owner_dead},
        "age_seconds": round(reckoning.now - collected.collected_at, 1) if collected.collected_at is not None else None,
    }
    age = facts.oldest_claimable_age_seconds
    if age > _WAITING_SECONDS:
        status = HealthStatus.UNHEALTHY if age > _LONG_WAITING_SECONDS else HealthStatus.DEGRADED
        return Outcome(status, f"work has been waiting for {age:.0f} s", details)
    if facts.expired_owner_alive:
        message = f"{facts.expired_owner_alive} leases ran out while their worker lives: the work may run twice"
        return Outcome(HealthStatus.DEGRADED, message, details)
    return Outcome(HealthStatus.HEALTHY, "", details)


def workers_outcome(collected: Collected[WorkerFacts], queue: Collected[QueueFacts], reckoning: Reckoning) -> Outcome:
    """Whether anybody works."""
    unknown = _unknown("worker_heartbeat", collected, reckoning)
    facts = collected.facts
    if unknown is not None or facts is None:
        return unknown or _NOTHING
    details = {
        "active_workers": facts.active,
        "active_jobs": facts.busy,
        "newest_heartbeat_age_seconds": facts.newest_heartbeat_age_seconds,
        "oldest_heartbeat_age_seconds": facts.oldest_heartbeat_age_seconds,
        "items_processed": facts.processed_total,
    }
    if facts.active or facts.busy:
        return Outcome(HealthStatus.HEALTHY, "", details)
    if queue.facts is not None and queue.facts.claimable:
        return Outcome(HealthStatus.UNHEALTHY, "work is waiting and no worker shows signs of life", details)
    return Outcome(HealthStatus.DEGRADED, "no worker shows signs of life", details)


def scheduler_outcome(collected: Collected[SchedulerFacts], reckoning: Reckoning) -> Outcome:
    """Whether the schedule is kept."""
    unknown = _unknown("apscheduler_jobs", collected, reckoning)
    facts = collected.facts
    if unknown is not None or facts is None:
        return unknown or _NOTHING
    details = {
        "jobs": facts.jobs,
        "overdue_jobs": facts.overdue_jobs,
        "next_run_in_seconds": facts.next_run_in_seconds,
        "schedules": facts.active_schedules,
    }
    if facts.oldest_overdue_seconds > _WAITING_SECONDS:
        late = f"{facts.overdue_jobs} jobs are overdue, the oldest by {facts.oldest_overdue_seconds:.0f} s"
        status = HealthStatus.UNHEALTHY if facts.oldest_overdue_seconds > _LONG_WAITING_SECONDS else None
        return Outcome(status or HealthStatus.DEGRADED, late, details)
    if facts.active_schedules is None:
        return Outcome(HealthStatus.DEGRADED, "task cannot be read: nobody knows what should be scheduled", details)
    if facts.active_schedules and not facts.jobs:
        why = "no job is scheduled" if facts.table_exists else "the scheduler has never run"
        return Outcome(HealthStatus.DEGRADED, f"{facts.active_schedules} tasks have a schedule, and {why}", details)
    return Outcome(HealthStatus.HEALTHY, "", details)


def _unknown(table: str, collected: Collected[Any], reckoning: Reckoning) -> Outcome | None:
    """What is said where there are no facts of late; None where there are."""
    if collected.problem is None:
        return reckoning.missing(collected, HealthStatus.DEGRADED)
    return Outcome(HealthStatus.DEGRADED, f"{table} cannot be read: PostgreSQL {_words(collected.problem)}")


def _trouble(server: str, problem: Problem) -> Outcome:
    status = HealthStatus.DEGRADED if problem in _DEGRADING else HealthStatus.UNHEALTHY
    return Outcome(status, f"{server} {_words(problem)}", {"problem": problem.value})


def _words(problem: Problem) -> str:
    return {
        Problem.UNREACHABLE: "cannot be reached",
        Problem.TIMEOUT: "does not answer in time",
        Problem.REFUSED: "refuses the connection; check host, user and password",
        Problem.TOO_MANY_CONNECTIONS: "has no connection left",
        Problem.NO_PERMISSION: "does not let this role read it",
        Problem.MISSING_TABLE: "lacks a table of Ordinaut's",
        Problem.FAILED: "answers with an error; see the log",
    }[problem]
