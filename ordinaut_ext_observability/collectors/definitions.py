"""The metrics read from PostgreSQL: the system's, and those about reading it.

What belongs to the whole cluster is exported by the one process that leads; the others have no series of it.
"""

from __future__ import annotations

from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily, Gauge

# Other processes read these three by name, from what a process publishes.
LEADER = "ordinaut_observability_collector_leader"
LAST_SUCCESS = "ordinaut_observability_collector_last_success_timestamp_seconds"
DATABASE_INFO = "ordinaut_observability_database_info"

# Work waits for the next tick of a worker (under a second), or for a backlog of hours.
DRIFT_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)

SOURCES = {
    "orchestrator_queue_depth": "due_work",
    "orchestrator_due_work_queue_depth": "due_work",
    "orchestrator_oldest_due_work_age_seconds": "due_work",
    "orchestrator_scheduler_lag_seconds": "due_work",
    "orchestrator_schedule_drift_seconds": "due_work",
    "orchestrator_workers": "worker_heartbeat",
    "orchestrator_work_items_processed_total": "worker_heartbeat",
    "orchestrator_task_runs_total": "task_run",
    "orchestrator_task_run_duration_seconds": "task_run",
    "orchestrator_tasks": "task",
    "orchestrator_tasks_created_total": "audit_log",
    "orchestrator_audit_actions_total": "audit_log",
    "orchestrator_scheduler_overdue_jobs": "apscheduler_jobs",
}
"""Which table a metric comes from."""


class CollectorMetrics:
    """The families about the collectors themselves, whichever server they read."""

    def __init__(self, metrics: Metrics) -> None:
        self.age = metrics.gauge(
            "ordinaut_observability_collector_age_seconds",
            "How old the collector's facts are, as of its last round; see the time of its last success too.",
            "collector",
        )
        self.last_success = metrics.gauge(
            LAST_SUCCESS,
            "When the collector last read what it should, in seconds since 1970.",
            "collector",
        )
        self.seconds = metrics.gauge(
            "ordinaut_observability_collector_duration_seconds",
            "How long the collector's last reading took, waiting for the server included.",
            "collector",
        )
        self.rows = metrics.gauge(
            "ordinaut_observability_collector_rows", "Rows that the collector's last reading was sent.", "collector"
        )
        self.errors = metrics.counter(
            "ordinaut_observability_collector_errors_total",
            "Readings that failed, by collector and reason; odd_row: rows left out of a reading, or a part of it.",
            "collector",
            "reason",
        )

    def count_odd_rows(self, collector: str, rows: int) -> None:
        """Count rows that say what cannot be: an infinite time, a heartbeat from the future."""
        if rows:
            self.errors.labels(collector, "odd_row").inc(rows)


class SystemMetrics:
    """The families, each an attribute, in two groups: `cluster_counters` and `gauges_of`."""

    def __init__(self, metrics: Metrics, own: CollectorMetrics | None = None) -> None:
        """`own` are of `metrics`; left out, they are made."""
        self.own = own or CollectorMetrics(metrics)
        self.active_workers = metrics.active_workers
        self.cluster_counters: list[AnyFamily] = []
        """The counts from the database for all: published with every checkpoint, and never beside it."""
        self._define_queue(metrics)
        self._define_workers(metrics)
        self._define_runs(metrics)
        self._define_scheduler(metrics)
        self._define_activity(metrics)
        self._define_self(metrics)
        self.gauges_of: dict[str, list[Gauge]] = {
            "queue": [
                *(self.queue_depth, self.queue_depth_by_priority, self.scheduler_lag, self.oldest_age),
                *(self.depth_is_estimate, self.in_progress, self.expired_leases),
            ],
            "workers": [self.workers, self.heartbeat_age, self.items_finished, self.active_workers],
            "runs": [self.executions, self.success_ratio],
            "scheduler": [self.jobs, self.overdue_jobs, self.oldest_overdue],
            "tasks": [self.tasks],
            "activity": [self.active_agents],
            "sources": [self.source_info],
        }
        """What is so now, by the collector that reads it."""

    def clear_gauges(self) -> None:
        """Show nothing that the leader reads: this process leads no more."""
        for group in self.gauges_of.values():
            for gauge in group:
                gauge.clear()

    def _define_queue(self, metrics: Metrics) -> None:
        self.queue_depth = metrics.queue_depth
        self.queue_depth_by_priority = metrics.due_work_queue_depth
        self.scheduler_lag = metrics.scheduler_lag
        self.oldest_age = metrics.gauge(
            "orchestrator_oldest_due_work_age_seconds",
            "How long the oldest work in due_work that a worker could take now has been due; 0 when there is none.",
        )
        self.depth_is_estimate = metrics.gauge(
            "orchestrator_queue_depth_is_estimate",
            "1 while there is more due work than is counted row by row: its depth is then the planner's estimate.",
        )
        self.in_progress = metrics.gauge(
            "orchestrator_work_items_in_progress", "Rows of due_work under a lease that has not run out."
        )
        self.expired_leases = metrics.gauge(
            "orchestrator_expired_leases",
            "Rows of due_work whose lease ran out. owner=alive: the worker still gives signs of life, so the work may "
            "run twice; owner=dead: it does not, and another one will take the work.",
            "owner",
        )
        self.drift = metrics.histogram(
            "orchestrator_schedule_drift_seconds",
            "How late work is, by kind of schedule. source=queued: from when it was due to its row in due_work; "
            "source=leased: to the lease of a worker. Of what is seen in due_work: work done between two readings "
            "is not.",
            "schedule_kind",
            "source",
            bounds=DRIFT_SECONDS,
        )
        self.cluster_counters.append(self.drift)

    def _define_workers(self, metrics: Metrics) -> None:
        self.workers = metrics.gauge(
            "orchestrator_workers",
            "Workers that hold a lease in due_work (busy), and others with a fresh row in worker_heartbeat (idle).",
            "state",
        )
        self.heartbeat_age = metrics.gauge(
            "orchestrator_worker_heartbeat_age_seconds",
            "Age of the newest and of the oldest heartbeat in worker_heartbeat, of workers whose heartbeat is fresh.",
            "which",
        )
        self.processed = metrics.counter(
            "orchestrator_work_items_processed_total",
            "Work items finished, successes and failures, as workers count them in worker_heartbeat.",
        )
        self.items_finished = metrics.gauge(
            "orchestrator_work_items_finished",
            "Work items finished in the last minute, hour and day, as workers count them in worker_heartbeat.",
            "window",
        )
        self.cluster_counters.append(self.processed)

    def _define_runs(self, metrics: Metrics) -> None:
        # Apart from what the processes that run tasks report themselves: where the two differ, one of them is wrong.
        self.runs = metrics.counter(
            "orchestrator_task_runs_total",
            "Rows of task_run that ended, each attempt one: success or failed. Compare orchestrator_runs_total, which "
            "the processes report that run tasks.",
            "status",
            "task_id",
            "agent_id",
        )
        self.run_seconds = metrics.histogram(
            "orchestrator_task_run_duration_seconds",
            "How long runs took, by the rows of task_run, each attempt one.",
            "task_id",
            "agent_id",
            "success",
            bounds=metrics.task_seconds.bounds,
        )
        self.retries = metrics.counter(
            "orchestrator_task_run_retries_total",
            "Rows of task_run that are an attempt after the first.",
            "schedule_kind",
        )
        self.failures = metrics.counter(
            "orchestrator_task_run_failures_total", "Rows of task_run that failed, each attempt by itself.",
            "schedule_kind",
        )  # fmt: skip
        self.unaccounted = metrics.counter(
            "orchestrator_task_runs_unaccounted_total",
            "Runs of task_run that ended and were not counted, because nobody read the table for hours.",
        )
        self.executions = metrics.gauge(
            "orchestrator_executions",
            "Rows of task_run, each attempt one, that ended in the last minute, hour and day.",
            "window",
        )
        self.success_ratio = metrics.gauge(
            "orchestrator_execution_success_ratio",
            "Share of the rows of task_run in the last minute, hour and day that succeeded; absent without any.",
            "window",
        )
        self.cluster_counters += [self.runs, self.run_seconds, self.retries, self.failures, self.unaccounted]

    def _define_scheduler(self, metrics: Metrics) -> None:
        self.jobs = metrics.gauge("orchestrator_scheduler_jobs", "Rows of apscheduler_jobs.")
        self.overdue_jobs = metrics.gauge(
            "orchestrator_scheduler_overdue_jobs",
            "Rows of apscheduler_jobs that should have been fired longer ago than the scheduler's grace of 30 s.",
        )
        self.oldest_overdue = metrics.gauge(
            "orchestrator_scheduler_oldest_overdue_seconds",
            "For how long the job overdue the longest has been due; 0 when none is.",
        )
        self.tasks = metrics.gauge(
            "orchestrator_tasks", "Rows of task, by kind of schedule and status; beyond 10000 an estimate.",
            "schedule_kind", "status",
        )  # fmt: skip

    def _define_activity(self, metrics: Metrics) -> None:
        self.tasks_created = metrics.tasks_created
        self.audit_actions = metrics.counter(
            "orchestrator_audit_actions_total", "Rows of audit_log, by action.", "action"
        )
        self.agent_actions = metrics.counter(
            "orchestrator_agent_actions_total", "Rows of audit_log, by the agent that acted.", "agent_id"
        )
        self.active_agents = metrics.gauge(
            "orchestrator_active_agents",
            "Agents with a row in audit_log in the last minute, hour and day; since reading began, when that is less.",
            "window",
        )
        self.cluster_counters += [self.tasks_created, self.audit_actions, self.agent_actions]

    def _define_self(self, metrics: Metrics) -> None:
        self.leader = metrics.gauge(
            LEADER,
            "1 in the process that reads the database for all, 0 in the others that could.",
            merged_by="sum",
        )
        self.database_info = metrics.gauge(
            DATABASE_INFO,
            "Always 1; a digest that names the database that is read. Several: installations have the same name.",
            "database",
        )
        self.source_info = metrics.gauge(
            "ordinaut_observability_source_info",
            "Always 1; the table that a metric comes from.",
            "metric",
            "source",
        )

    def show_sources(self) -> None:
        """Say which tables the metrics come from."""
        for metric, table in SOURCES.items():
            self.source_info.labels(metric, table).set(1)
