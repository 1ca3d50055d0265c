"""The state of each collector: its last facts and its problem, with the metrics and log lines about that.

Health checks show the facts; the metrics say the same in numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics

if TYPE_CHECKING:
    from ordinaut_ext_observability.collectors.runs import Lease

NOT_CONNECTED = "none: not connected"

LOOK_SECONDS = 15.0
"""Longest time between looks at the server, where readings are not further apart: readiness depends on it."""


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """`due_work` now."""

    claimable: int
    """Due, and leased by nobody or no longer; beyond the cap an estimate."""
    claimable_is_estimate: bool
    oldest_claimable_age_seconds: float
    """0 when nothing is claimable."""
    claimable_by_priority: dict[str, int]
    in_progress: int
    expired_owner_alive: int
    """Leases that ran out while their worker still gives signs of life: the work may run twice."""
    expired_owner_dead: int
    leases: tuple[Lease, ...] = field(default=(), repr=False)
    """Those at the head of the queue, which other collectors need; shown to nobody."""


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
    heartbeats: dict[str, float] = field(default_factory=dict, repr=False)
    """Last heartbeat of each active worker, in seconds since 1970; shown to nobody."""


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


class GroupFacts(TypedDict):
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
    groups: list[GroupFacts] = field(default_factory=list)
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


class Collected(NamedTuple):
    """The last successful reading of a source, and how it stands with it now."""

    facts: Any = None
    """None before the first success."""
    collected_at: float | None = None
    """On the monotonic clock; None before the first success."""
    problem: Problem | None = None
    """Reason why the last reading failed, or a part of it; None where nothing did."""


UNREAD = Collected()
"""Before the first reading."""


@dataclass(eq=False)
class CollectorStates:
    """The collectors of a process by name: written on their thread, read by health checks on others."""

    metrics: CollectorMetrics
    clock: Clock
    event: events.LogEvent
    count_internal_error: Callable[[str], None]

    def __post_init__(self) -> None:
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin with nothing read."""
        self.leads = False
        """True while this process reads PostgreSQL for all."""
        self.mode = NOT_CONNECTED
        """The thing that decides who leads, for people: `advisory lock`, `lease`, or `none:` and why."""
        self._collected: dict[str, Collected] = {}
        self._told: dict[tuple[str, str], str] = {}

    def of(self, name: str) -> Collected:
        """The state of this collector."""
        return self._collected.get(name, UNREAD)

    def age_seconds(self, name: str) -> float:
        """Seconds since the collector's last success, which there must be."""
        return self.clock.monotonic() - (self.of(name).collected_at or 0.0)

    def succeeded(self, name: str, facts: object, problem: Problem | None = None) -> None:
        """The collector read this; with a problem, not all that it should."""
        self._collected[name] = Collected(facts, self.clock.monotonic(), problem)
        self.metrics.collector_success.labels(name).set(self.clock.wall())
        self._tell(name, problem.value if problem is not None else None)

    def failed(self, name: str, error: BaseException, problem: Problem) -> None:
        """The collector read nothing, for this reason; notes of the error are told."""
        if problem is Problem.FAILED:
            self.count_internal_error(f"{name}_collector")
        detail = "; ".join(getattr(error, "__notes__", ())) or None
        self._tell(name, problem.value, exception_type=type(error).__name__, detail=detail)
        self._collected[name] = self.of(name)._replace(problem=problem)

    def lost(self, names: Iterable[str], problem: Problem) -> None:
        """The connection is gone, which was told of another collector."""
        for name in names:
            self._collected[name] = self.of(name)._replace(problem=problem)
            self.metrics.errors.labels(name, problem.value).inc()

    def failed_in_part(self, name: str, problems: Mapping[str, str]) -> None:
        """These parts of what the collector reads failed, each for its reason; the others did not."""
        told = {part for collector, part in self._told if collector == name and part}
        for part in sorted(told | problems.keys()):
            self._tell(name, problems.get(part), part)

    def discard(self, *kept: str) -> None:
        """Drop the states of all but these collectors: another process reads the rest."""
        own = self.metrics
        self._told = {key: reason for key, reason in self._told.items() if key[0] in kept}
        for name in [name for name in self._collected if name not in kept]:
            del self._collected[name]
            for gauge in (own.collector_age, own.collector_success, own.collector_seconds, own.collector_rows):
                gauge.remove(name)

    def show_ages(self) -> None:
        """Bring the ages of the facts up to date."""
        for name, state in self._collected.items():
            if state.collected_at is not None:
                self.metrics.collector_age.labels(name).set(self.age_seconds(name))

    def _tell(self, name: str, reason: str | None, part: str = "", **fields: Any) -> None:
        """Count the problem, and log it where it is another one than before, or none any more."""
        server = "Redis" if name == "redis" else "PostgreSQL"
        fields |= {"collector": name} | ({"part": part} if part else {})
        before = self._told.pop((name, part), None)
        if reason is None:
            if before is not None:
                self.event(events.COLLECTOR_RECOVERED[server], **fields)
            return
        self._told[name, part] = reason
        self.metrics.errors.labels(name, reason).inc()
        if reason != before:
            self.event(events.COLLECTOR_PROBLEM[server], reason=reason, **fields)
