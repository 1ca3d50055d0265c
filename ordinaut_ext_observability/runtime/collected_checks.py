"""Health checks over what the collectors read last. They ask nobody, so they cannot hang.

A new check is a function here, and a line in `_CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

from ordinaut_ext_observability.collectors.states import (
    UNREAD,
    CollectorStates,
    DatabaseFacts,
    QueueFacts,
    RedisFacts,
    SchedulerFacts,
    WorkerFacts,
)
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.health.model import HealthStatus, Outcome, unknown

_BUSY_SHARE = 0.9
"""Share of all connections, or of the memory: what is left is gone in minutes where it is asked for."""

_SLOW_SECONDS = 1.0
"""An answer within the machine takes less than a millisecond."""

_WAITING_SECONDS = 60.0
_LONG_WAITING_SECONDS = 300.0
"""Longest waits of due work, as the host's own alert rules have them."""

# The source answers, but not all of it can be seen, or it is busy: that is no outage.
_DEGRADING = frozenset((Problem.TOO_MANY_CONNECTIONS, Problem.NO_PERMISSION, Problem.MISSING_TABLE))

_HEALTHY, _DEGRADED, _UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY

Judgement = tuple[HealthStatus, str]
"""The status, and why it is no better."""


def _judge_database(facts: DatabaseFacts, _: CollectorStates) -> Judgement:
    if facts.connections >= _BUSY_SHARE * facts.max_connections:
        return _DEGRADED, f"{facts.connections} of {facts.max_connections} connections are in use"
    return _judge_latency(facts.latency_seconds)


def _judge_redis(facts: RedisFacts, _: CollectorStates) -> Judgement:
    if facts.max_memory_bytes and (facts.used_memory_bytes or 0) >= _BUSY_SHARE * facts.max_memory_bytes:
        return _DEGRADED, "its memory is nearly used up"
    return _judge_latency(facts.latency_seconds)


def _judge_latency(seconds: float) -> Judgement:
    return (_DEGRADED, f"an answer takes {seconds:.1f} s") if seconds > _SLOW_SECONDS else (_HEALTHY, "")


def _judge_queue(facts: QueueFacts, _: CollectorStates) -> Judgement:
    age, alive = facts.oldest_claimable_age_seconds, facts.expired_owner_alive
    if age > _WAITING_SECONDS:
        return _lateness(age), f"work has been waiting for {age:.0f} s"
    if alive:
        ran_out = "1 lease ran out while its worker" if alive == 1 else f"{alive} leases ran out while their worker"
        return _DEGRADED, f"{ran_out} lives: the work may run twice"
    return _HEALTHY, ""


def _judge_workers(facts: WorkerFacts, states: CollectorStates) -> Judgement:
    if facts.active or facts.busy:
        return _HEALTHY, ""
    queue: QueueFacts | None = states.of("queue").facts
    if queue is not None and queue.claimable:
        return _UNHEALTHY, "work is waiting and no worker shows signs of life"
    return _DEGRADED, "no worker shows signs of life"


def _judge_scheduler(facts: SchedulerFacts, _: CollectorStates) -> Judgement:
    late = facts.oldest_overdue_seconds
    if late > _WAITING_SECONDS:
        return _lateness(late), f"{facts.overdue_jobs} jobs are overdue, the oldest by {late:.0f} s"
    if facts.active_schedules is None:
        return _DEGRADED, "task cannot be read: nobody knows what should be scheduled"
    if facts.active_schedules and not facts.jobs:
        why = "no job is scheduled" if facts.table_exists else "the scheduler has never run"
        return _DEGRADED, f"{facts.active_schedules} tasks have a schedule, and {why}"
    return _HEALTHY, ""


def _lateness(seconds: float) -> HealthStatus:
    return _UNHEALTHY if seconds > _LONG_WAITING_SECONDS else _DEGRADED


_CHECKS: dict[str, tuple[str, str, Callable[[Any, CollectorStates], Judgement]]] = {
    "database": ("PostgreSQL", "", _judge_database),
    "queue": ("PostgreSQL", "due_work", _judge_queue),
    "workers": ("PostgreSQL", "worker_heartbeat", _judge_workers),
    "scheduler": ("PostgreSQL", "apscheduler_jobs", _judge_scheduler),
    "redis": ("Redis", "", _judge_redis),
}
"""Server, table that the leader alone reads (empty: every process asks the server), and what judges the facts."""


def checks_of(server: str) -> list[str]:
    """The names of the checks of `PostgreSQL` or `Redis`."""
    return [name for name, (of, _, _) in _CHECKS.items() if of == server]


class CollectedChecks(NamedTuple):
    """Finds out how it stands, from the states."""

    states: CollectorStates
    limit_seconds: float
    """Age from which on a reading says nothing any more."""
    read_elsewhere: Callable[[str], float | None] | None
    """Gives the seconds since another process, which leads and shows signs of life, read what this collector reads.

    None where processes have no store to tell each other.
    """

    def find(self, name: str) -> Outcome:
        """The outcome of the check of this name."""
        server, table, judge = _CHECKS[name]
        if table and not self.states.leads:
            return self._elsewhere(name)
        facts, _, problem = self.states.of(name)
        if problem is not None and table:
            return Outcome(_DEGRADED, f"{table} cannot be read: PostgreSQL {problem.words}")
        if problem is not None and (facts is None or name == "database" or problem not in _DEGRADING):
            status = _DEGRADED if problem in _DEGRADING else _UNHEALTHY
            return Outcome(status, f"{server} {problem.words}", {"problem": problem.value})
        if facts is None:
            return unknown("not read yet")
        age = self.states.age_seconds(name)
        details = {each.name: getattr(facts, each.name) for each in fields(facts) if each.repr}
        details["age_seconds"] = round(age, 1)
        if age > self.limit_seconds:
            status = _UNHEALTHY if name == "database" else _DEGRADED
            return Outcome(status, f"no recent reading: the last was {age:.0f} s ago", details)
        return Outcome(*judge(facts, self.states), details)

    def _elsewhere(self, name: str) -> Outcome:
        """The outcome where this process does not read for all: another may, and only its word counts."""
        database, mode = self.states.of("database"), self.states.mode
        age = self.read_elsewhere(name) if self.read_elsewhere is not None else None
        if database is UNREAD:
            why = "not read yet"
        elif database.problem is not None:
            why = f"PostgreSQL {database.problem.words}"
        elif mode.startswith("none:"):
            why = f"no process reads it: {mode.removeprefix('none: ')}"
        elif self.read_elsewhere is None:
            why = (
                "another process holds the lock; processes tell each other whether they read only through a store: "
                "set REDIS_URL or ORDINAUT_OBS_STORE"
            )
        elif age is None or age > self.limit_seconds:
            why = "another process holds the lock, and has not said lately that it reads this"
        else:
            return Outcome(_HEALTHY, "", {"read_by": "another process", "age_seconds": round(age, 1)})
        return unknown(why)
