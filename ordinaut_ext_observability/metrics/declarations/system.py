"""Metrics read from the host's tables, and of reading them.

Facts about all processes are exported by the one process that leads; the others have no series of them.
"""

from __future__ import annotations

from itertools import chain

from ordinaut_ext_observability.metrics.declarations.work import WORK
from ordinaut_ext_observability.metrics.declare import Buckets, MetricSet, Source, counter, declarations_of, gauge
from ordinaut_ext_observability.metrics.family import AnyFamily, Gauge
from ordinaut_ext_observability.metrics.registry import Registry

DRIFT = Buckets(
    "Work waits for the next tick of a worker (under a second), or for a backlog of hours.",
    (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0),
)

DUE_WORK = Source("due_work", "queue")
WORKER_HEARTBEAT = Source("worker_heartbeat", "workers")
TASK_RUN = Source("task_run", "runs")
APSCHEDULER_JOBS = Source("apscheduler_jobs", "scheduler")
TASK = Source("task", "tasks")
AUDIT_LOG = Source("audit_log", "activity")


class QueueMetrics(MetricSet, title="Queue and workers"):
    """Facts that both a process may report and the collectors read, from the table that is named."""

    active_workers = WORKER_HEARTBEAT.gauge(
        "orchestrator_active_workers",
        "Workers that show signs of life: by their heartbeats where PostgreSQL is read, else those that report.",
        merged_by="sum",
    )
    due_work_queue_depth = DUE_WORK.gauge(
        "orchestrator_due_work_queue_depth{priority}",
        "Work that is due, by priority, and all of it under `all`: rows of due_work that a worker could take "
        "now; where PostgreSQL is not read, as a worker saw it at its last heartbeat.",
    )
    queue_depth = DUE_WORK.gauge(
        "orchestrator_queue_depth",
        "Work that is due: rows of due_work that a worker could take now; where PostgreSQL is not read, as a "
        "worker saw it at its last heartbeat.",
    )
    scheduler_lag = DUE_WORK.gauge(
        "orchestrator_scheduler_lag_seconds",
        "How long the oldest work in due_work that nobody has taken has been due; where PostgreSQL is not "
        "read, how late the scheduler last fired a job.",
    )
    tasks_created = AUDIT_LOG.counter(
        "orchestrator_tasks_created_total{schedule_kind,agent_id}", "Tasks created, by kind of schedule."
    )


class TableMetrics(QueueMetrics, title="Read from the host's tables"):
    """Facts of the whole installation."""

    oldest_age = DUE_WORK.gauge(
        "orchestrator_oldest_due_work_age_seconds",
        "How long the oldest work in due_work that a worker could take now has been due; 0 when there is none.",
    )
    depth_is_estimate = DUE_WORK.gauge(
        "orchestrator_queue_depth_is_estimate",
        "1 while there is more due work than is counted row by row: its depth is then the planner's estimate.",
    )
    in_progress = DUE_WORK.gauge(
        "orchestrator_work_items_in_progress", "Rows of due_work under a lease that has not run out."
    )
    expired_leases = DUE_WORK.gauge(
        "orchestrator_expired_leases{owner}",
        "Rows of due_work whose lease ran out. owner=alive: the worker still gives signs of life, so the work "
        "may run twice; owner=dead: it does not, and another one will take the work.",
    )
    drift = DUE_WORK.histogram(
        "orchestrator_schedule_drift_seconds{schedule_kind,source}",
        "How late work is, by kind of schedule. source=queued: from when it was due to its row in due_work; "
        "source=leased: to the lease of a worker. Of what is seen in due_work: work done between two readings "
        "is not.",
        buckets=DRIFT,
    )
    workers = WORKER_HEARTBEAT.gauge(
        "orchestrator_workers{state}",
        "Workers that hold a lease in due_work (busy), and others with a fresh row in worker_heartbeat (idle).",
    )
    heartbeat_age = WORKER_HEARTBEAT.gauge(
        "orchestrator_worker_heartbeat_age_seconds{which}",
        "Age of the newest and of the oldest heartbeat in worker_heartbeat, of workers whose heartbeat is fresh.",
    )
    processed = WORKER_HEARTBEAT.counter(
        "orchestrator_work_items_processed_total",
        "Work items finished, successes and failures, as workers count them in worker_heartbeat.",
    )
    items_finished = WORKER_HEARTBEAT.gauge(
        "orchestrator_work_items_finished{window}",
        "Work items finished in the last minute, hour and day, as workers count them in worker_heartbeat.",
    )
    # Apart from what the processes report themselves that run tasks: where the two differ, one of them is wrong.
    runs = TASK_RUN.counter(
        "orchestrator_task_runs_total{status,task_id,agent_id}",
        "Rows of task_run that ended, each attempt one: success or failed. Compare orchestrator_runs_total, "
        "which the processes report that run tasks.",
    )
    run_seconds = TASK_RUN.histogram(
        "orchestrator_task_run_duration_seconds{task_id,agent_id,success}",
        "How long runs took, by the rows of task_run, each attempt one.",
        buckets=WORK,
    )
    retries = TASK_RUN.counter(
        "orchestrator_task_run_retries_total{schedule_kind}", "Rows of task_run that are an attempt after the first."
    )
    failures = TASK_RUN.counter(
        "orchestrator_task_run_failures_total{schedule_kind}", "Rows of task_run that failed, each attempt by itself."
    )
    unaccounted = TASK_RUN.counter(
        "orchestrator_task_runs_unaccounted_total",
        "Runs of task_run that ended and were not counted, because nobody read the table for hours.",
    )
    executions = TASK_RUN.gauge(
        "orchestrator_executions{window}",
        "Rows of task_run, each attempt one, that ended in the last minute, hour and day.",
    )
    success_ratio = TASK_RUN.gauge(
        "orchestrator_execution_success_ratio{window}",
        "Share of the rows of task_run in the last minute, hour and day that succeeded; absent without any.",
    )
    jobs = APSCHEDULER_JOBS.gauge("orchestrator_scheduler_jobs", "Rows of apscheduler_jobs.")
    overdue_jobs = APSCHEDULER_JOBS.gauge(
        "orchestrator_scheduler_overdue_jobs",
        "Rows of apscheduler_jobs that should have been fired longer ago than the scheduler's grace of 30 s.",
    )
    oldest_overdue = APSCHEDULER_JOBS.gauge(
        "orchestrator_scheduler_oldest_overdue_seconds",
        "For how long the job overdue the longest has been due; 0 when none is.",
    )
    tasks = TASK.gauge(
        "orchestrator_tasks{schedule_kind,status}",
        "Rows of task, by kind of schedule and status; beyond 10000 an estimate.",
    )
    audit_actions = AUDIT_LOG.counter("orchestrator_audit_actions_total{action}", "Rows of audit_log, by action.")
    agent_actions = AUDIT_LOG.counter(
        "orchestrator_agent_actions_total{agent_id}", "Rows of audit_log, by the agent that acted."
    )
    active_agents = AUDIT_LOG.gauge(
        "orchestrator_active_agents{window}",
        "Agents with a row in audit_log in the last minute, hour and day; since reading began, when that is less.",
    )


class CollectorMetrics(MetricSet, title="The collectors"):
    """The reading itself: its age, its time, its failures."""

    collector_age = gauge(
        "ordinaut_observability_collector_age_seconds{collector}",
        "How old the collector's facts are, as of its last round; see the time of its last success too.",
    )
    collector_success = gauge(
        "ordinaut_observability_collector_last_success_timestamp_seconds{collector}",
        "When the collector last read what it should, in seconds since 1970.",
    )
    collector_seconds = gauge(
        "ordinaut_observability_collector_duration_seconds{collector}",
        "How long the collector's last reading took, waiting for the server included.",
    )
    collector_rows = gauge(
        "ordinaut_observability_collector_rows{collector}", "Rows that the collector's last reading was sent."
    )
    errors = counter(
        "ordinaut_observability_collector_errors_total{collector,reason}",
        "Readings that failed, by collector and reason; odd_row: rows left out of a reading, or a part of it.",
    )
    leader = gauge(
        "ordinaut_observability_collector_leader",
        "1 in the process that reads the database for all, 0 in the others that could.",
        merged_by="sum",
    )
    database_info = gauge(
        "ordinaut_observability_database_info{database}",
        "Always 1; a digest that names the database that is read. Several: installations have the same name.",
    )
    source_info = gauge(
        "ordinaut_observability_source_info{metric,source}", "Always 1; the table that a metric comes from."
    )


class SystemMetrics(TableMetrics, CollectorMetrics):
    """Everything that the collectors of PostgreSQL fill."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.cluster_counters: list[AnyFamily] = []
        """The counts from the database for all: published with every checkpoint, and never beside it."""
        self.gauges_of: dict[str, list[Gauge]] = {"sources": [self.source_info]}
        """Gauges of what is so now, by the collector that reads it, for the leader alone."""
        for name, declared in declarations_of(TableMetrics):
            family: AnyFamily = getattr(self, name)
            if isinstance(family, Gauge):
                self.gauges_of.setdefault(declared.source.collector, []).append(family)
            else:
                self.cluster_counters.append(family)

    def clear_gauges(self) -> None:
        """Show nothing of what is so now: another process leads."""
        for each in chain.from_iterable(self.gauges_of.values()):
            each.clear()

    def count_odd_rows(self, collector: str, rows: int) -> None:
        """Count rows that say what cannot be: an infinite time, a heartbeat from the future."""
        if rows:
            self.errors.labels(collector, "odd_row").inc(rows)

    def show_sources(self) -> None:
        """Say which tables the metrics come from."""
        for _, each in declarations_of(TableMetrics):
            self.source_info.labels(each.name, each.source.table).set(1)
