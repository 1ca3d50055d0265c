"""What the host's processes report of their work."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import Buckets, MetricSet, counter, gauge, histogram

WORK = Buckets(
    "A pipeline is one simulated step of under a millisecond or a run of hours.",
    (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0),
)


class WorkMetrics(MetricSet):
    """Work as the processes report it that do it."""

    title = "Tasks, pipelines, steps and tools"

    task_executions = counter(
        "orchestrator_task_executions_total",
        "Executions that ended, by outcome: success, error or cancelled.",
        ("status", "task_type"),
    )
    pipeline_seconds = histogram(
        "orchestrator_pipeline_duration_seconds",
        "How long executions took.",
        ("task_id", "pipeline_type"),
        buckets=WORK,
    )
    pipeline_executions = counter(
        "orchestrator_pipeline_executions_total",
        "Pipeline executions by what became of them: started, success or failed; a failure counts once.",
        ("task_id", "status"),
    )
    runs = counter(
        "orchestrator_runs_total",
        "Runs that ended, by outcome: success or failed; each attempt is a run.",
        ("status", "task_id", "agent_id"),
    )
    task_seconds = histogram(
        "orchestrator_task_duration_seconds", "How long runs took.", ("task_id", "agent_id", "success"), buckets=WORK
    )
    step_seconds = histogram(
        "orchestrator_step_duration_seconds",
        "How long pipeline steps took; step_id is the step's name.",
        ("tool_addr", "step_id", "task_id"),
        buckets=WORK,
    )
    step_successes = counter(
        "orchestrator_step_success_total", "Pipeline steps that succeeded.", ("tool_addr", "step_id")
    )
    step_failures = counter(
        "orchestrator_step_failure_total", "Pipeline steps that failed.", ("tool_addr", "step_id", "error_type")
    )
    tool_calls = counter(
        "orchestrator_external_tool_calls_total", "Calls of external tools.", ("tool_address", "status_code")
    )
    tool_seconds = histogram(
        "orchestrator_external_tool_duration_seconds",
        "How long calls of external tools took.",
        ("tool_address", "method"),
        buckets=WORK,
    )
    redis_operations = counter(
        "orchestrator_redis_operations_total",
        "Operations the host reports as Redis's; failures of a worker's leasing and heartbeat are the database's.",
        ("operation", "result"),
    )


class WorkerMetrics(MetricSet):
    """Workers and the scheduler as they report themselves."""

    title = "Workers and scheduler"

    worker_heartbeats = counter("orchestrator_worker_heartbeat_total", "Heartbeats of workers.", ("worker_id",))
    worker_states = gauge(
        "orchestrator_worker_state", "1 for the state a worker said it is in last.", ("worker_id", "state")
    )
    lease_seconds = gauge("orchestrator_lease_duration_seconds", "For how long the worker leases work.", ("worker_id",))
    leases = counter("orchestrator_leases_total", "Work leased.", ("worker_id",))
    scheduler_ticks = counter(
        "orchestrator_scheduler_ticks_total",
        "What the scheduler did: success, error, schedule_error or load_error.",
        ("result",),
    )
    scheduler_jobs_created = counter(
        "orchestrator_scheduler_jobs_created_total", "Jobs the scheduler made or fired.", ("schedule_kind",)
    )
