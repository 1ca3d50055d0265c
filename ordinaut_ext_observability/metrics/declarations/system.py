"""What is read from the host's tables, and how reading them goes.

Facts about all processes are exported by the one process that leads; the others have no series of them.
"""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declarations.work import WORK, QueueMetrics
from ordinaut_ext_observability.metrics.declare import (
    Buckets,
    MetricSet,
    counter,
    declarations_of,
    gauge,
    histogram,
)
from ordinaut_ext_observability.metrics.family import AnyFamily, Gauge
from ordinaut_ext_observability.metrics.registry import Registry

DRIFT = Buckets(
    "Work waits for the next tick of a worker (under a second), or for a backlog of hours.",
    (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0),
)

COLLECTORS = {
    "due_work": "queue",
    "worker_heartbeat": "workers",
    "task_run": "runs",
    "apscheduler_jobs": "scheduler",
    "task": "tasks",
    "audit_log": "activity",
}
"""The collector that reads a table."""


class TableMetrics(QueueMetrics):
    """Facts of the whole installation."""

    title = "Read from the host's tables"

    oldest_age = gauge(
        "orchestrator_oldest_due_work_age_seconds",
        "How long the oldest work in due_work that a worker could take now has been due; 0 when there is none.",
        source="due_work",
    )
    depth_is_estimate = gauge(
        "orchestrator_queue_depth_is_estimate",
        "1 while there is more due work than is counted row by row: its depth is then the planner's estimate.",
        source="due_work",
    )
    in_progress = gauge(
        "orchestrator_work_items_in_progress", "Rows of due_work under a lease that has not run out.", source="due_work"
    )
    expired_leases = gauge(
        "orchestrator_expired_leases",
        "Rows of due_work whose lease ran out. owner=alive: the worker still gives signs of life, so the work "
        "may run twice; owner=dead: it does not, and another one will take the work.",
        ("owner",),
        source="due_work",
    )
    drift = histogram(
        "orchestrator_schedule_drift_seconds",
        "How late work is, by kind of schedule. source=queued: from when it was due to its row in due_work; "
        "source=leased: to the lease of a worker. Of what is seen in due_work: work done between two readings "
        "is not.",
        ("schedule_kind", "source"),
        buckets=DRIFT,
        source="due_work",
    )
    workers = gauge(
        "orchestrator_workers",
        "Workers that hold a lease in due_work (busy), and others with a fresh row in worker_heartbeat (idle).",
        ("state",),
        source="worker_heartbeat",
    )
    heartbeat_age = gauge(
        "orchestrator_worker_heartbeat_age_seconds",
        "Age of the newest and of the oldest heartbeat in worker_heartbeat, of workers whose heartbeat is fresh.",
        ("which",),
        source="worker_heartbeat",
    )
    processed = counter(
        "orchestrator_work_items_processed_total",
        "Work items finished, successes and failures, as workers count them in worker_heartbeat.",
        source="worker_heartbeat",
    )
    items_finished = gauge(
        "orchestrator_work_items_finished",
        "Work items finished in the last minute, hour and day, as workers count them in worker_heartbeat.",
        ("window",),
        source="worker_heartbeat",
    )
    # Apart from what the processes report themselves that run tasks: where the two differ, one of them is wrong.
    runs = counter(
        "orchestrator_task_runs_total",
        "Rows of task_run that ended, each attempt one: success or failed. Compare orchestrator_runs_total, "
        "which the processes report that run tasks.",
        ("status", "task_id", "agent_id"),
        source="task_run",
    )
    run_seconds = histogram(
        "orchestrator_task_run_duration_seconds",
        "How long runs took, by the rows of task_run, each attempt one.",
        ("task_id", "agent_id", "success"),
        buckets=WORK,
        source="task_run",
    )
    retries = counter(
        "orchestrator_task_run_retries_total",
        "Rows of task_run that are an attempt after the first.",
        ("schedule_kind",),
        source="task_run",
    )
    failures = counter(
        "orchestrator_task_run_failures_total",
        "Rows of task_run that failed, each attempt by itself.",
        ("schedule_kind",),
        source="task_run",
    )
    unaccounted = counter(
        "orchestrator_task_runs_unaccounted_total",
        "Runs of task_run that ended and were not counted, because nobody read the table for hours.",
        source="task_run",
    )
    executions = gauge(
        "orchestrator_executions",
        "Rows of task_run, each attempt one, that ended in the last minute, hour and day.",
        ("window",),
        source="task_run",
    )
    success_ratio = gauge(
        "orchestrator_execution_success_ratio",
        "Share of the rows of task_run in the last minute, hour and day that succeeded; absent without any.",
        ("window",),
        source="task_run",
    )
    jobs = gauge("orchestrator_scheduler_jobs", "Rows of apscheduler_jobs.", source="apscheduler_jobs")
    overdue_jobs = gauge(
        "orchestrator_scheduler_overdue_jobs",
        "Rows of apscheduler_jobs that should have been fired longer ago than the scheduler's grace of 30 s.",
        source="apscheduler_jobs",
    )
    oldest_overdue = gauge(
        "orchestrator_scheduler_oldest_overdue_seconds",
        "For how long the job overdue the longest has been due; 0 when none is.",
        source="apscheduler_jobs",
    )
    tasks = gauge(
        "orchestrator_tasks",
        "Rows of task, by kind of schedule and status; beyond 10000 an estimate.",
        ("schedule_kind", "status"),
        source="task",
    )
    audit_actions = counter(
        "orchestrator_audit_actions_total", "Rows of audit_log, by action.", ("action",), source="audit_log"
    )
    agent_actions = counter(
        "orchestrator_agent_actions_total",
        "Rows of audit_log, by the agent that acted.",
        ("agent_id",),
        source="audit_log",
    )
    active_agents = gauge(
        "orchestrator_active_agents",
        "Agents with a row in audit_log in the last minute, hour and day; since reading began, when that is less.",
        ("window",),
        source="audit_log",
    )


class CollectorMetrics(MetricSet):
    """How reading goes."""

    title = "The collectors"

    collector_age = gauge(
        "ordinaut_observability_collector_age_seconds",
        "How old the collector's facts are, as of its last round; see the time of its last success too.",
        ("collector",),
    )
    collector_success = gauge(
        "ordinaut_observability_collector_last_success_timestamp_seconds",
        "When the collector last read what it should, in seconds since 1970.",
        ("collector",),
    )
    collector_seconds = gauge(
        "ordinaut_observability_collector_duration_seconds",
        "How long the collector's last reading took, waiting for the server included.",
        ("collector",),
    )
    collector_rows = gauge(
        "ordinaut_observability_collector_rows", "Rows that the collector's last reading was sent.", ("collector",)
    )
    errors = counter(
        "ordinaut_observability_collector_errors_total",
        "Readings that failed, by collector and reason; odd_row: rows left out of a reading, or a part of it.",
        ("collector", "reason"),
    )
    leader = gauge(
        "ordinaut_observability_collector_leader",
        "1 in the process that reads the database for all, 0 in the others that could.",
        merged_by="sum",
    )
    database_info = gauge(
        "ordinaut_observability_database_info",
        "Always 1; a digest that names the database that is read. Several: installations have the same name.",
        ("database",),
    )
    source_info = gauge(
        "ordinaut_observability_source_info", "Always 1; the table that a metric comes from.", ("metric", "source")
    )


class SystemMetrics(TableMetrics, CollectorMetrics):
    """What the collectors of PostgreSQL fill."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        declared = [(each, self.__dict__[name]) for name, each in declarations_of(TableMetrics)]
        self.cluster_counters: list[AnyFamily] = [family for each, family in declared if each.kind != "gauge"]
        """The counts from the database for all: published with every checkpoint, and never beside it."""
        self.gauges_of: dict[str, list[Gauge]] = {"sources": [self.source_info]}
        """What is so now, by the collector that reads it, for the leader alone."""
        for each, family in declared:
            if isinstance(family, Gauge):
                self.gauges_of.setdefault(COLLECTORS[each.source], []).append(family)

    @property
    def gauges(self) -> list[Gauge]:
        """What is so now, read by the leader: cleared when it leads no more."""
        return [gauge for group in self.gauges_of.values() for gauge in group]

    def clear_gauges(self) -> None:
        """Nothing is known any more."""
        for each in self.gauges:
            each.clear()

    def count_odd_rows(self, collector: str, rows: int) -> None:
        """Count rows that say what cannot be: an infinite time, a heartbeat from the future."""
        if rows:
            self.errors.labels(collector, "odd_row").inc(rows)

    def show_sources(self) -> None:
        """Say which tables the metrics come from."""
        for _, each in declarations_of(TableMetrics):
            self.source_info.labels(each.name, each.source).set(1)
