"""Facts that the collectors found out, for health checks; the metrics say the same in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from ordinaut_ext_observability.collectors.runs import Lease
from ordinaut_ext_observability.errors import Problem

FactsT = TypeVar("FactsT")


class Collected(NamedTuple, Generic[FactsT]):
    """The last successful reading of a source, and how it stands with it now."""

    facts: FactsT | None
    """None before the first success."""
    collected_at: float | None
    """On the monotonic clock; None before the first success."""
    problem: Problem | None
    """Reason why the last reading failed, or a part of it; None where nothing did."""


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """`due_work` now."""

    claimable: int
    """Due, and leased by nobody or no longer; beyond the cap an estimate."""
    claimable_is_estimate: bool
    oldest_claimable_age_seconds: float
    """0 when nothing is claimable."""
    claimable_by_priority: dict[int, int]
    in_progress: int
    expired_owner_alive: int
    """Leases that ran out while their worker still gives signs of life: the work may run twice."""
    expired_owner_dead: int
    leases: tuple[Lease, ...] = ()
    """Those at the head of the queue, which other collectors need."""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """`worker_heartbeat` now."""

    active: int
    """Workers whose last heartbeat is fresh."""
    busy: int
    """Those of them that hold a lease, and others that do: a long item keeps a worker from sending heartbeats."""
    newest_heartbeat_age_seconds: float | None
    oldest_heartbeat_age_seconds: float | None
    """Ages among the active workers; None without any."""
    processed_total: int
    """Items finished, by all workers there ever were."""
    heartbeats: dict[str, float] = field(default_factory=dict)
    """Last heartbeat of each active worker, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class SchedulerFacts:
    """`apscheduler_jobs` now; the scheduler makes that table at its first start."""

    table_exists: bool
    jobs: int
    overdue_jobs: int
    oldest_overdue_seconds: float
    next_run_in_seconds: float | None
    active_schedules: int | None
    """Active tasks that a scheduler has to fire (cron, rrule and once in the future); None where they are not read."""


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A consumer group of a stream."""

    stream: str
    group: str
    consumers: int
    pending: int
    lag: int | None
    """Entries not yet delivered; None where the server does not know."""


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """The Redis server now."""

    latency_seconds: float
    """Duration of a PING."""
    stream_lengths: dict[str, int] = field(default_factory=dict)
    groups: tuple[GroupFacts, ...] = ()
    used_memory_bytes: int | None = None
    """None, as in the next three, where INFO is not permitted."""
    max_memory_bytes: int | None = None
    """0: no limit."""
    evicted_keys: int | None = None
    """Since the server started."""
    connected_clients: int | None = None


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The PostgreSQL server now."""

    latency_seconds: float
    """Duration of a `SELECT 1` on our own connection."""
    server_version: str
    connections: int
    max_connections: int
    in_recovery: bool


UNREAD: Collected[Any] = Collected(None, None, None)
"""Before the first reading."""
