"""Metrics that the host's processes report of their work."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import Buckets, MetricSet, counter, gauge, histogram

WORK = Buckets(
    "A pipeline is one simulated step of under a millisecond or a run of hours.",
    (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0),
)


class WorkMetrics(MetricSet, title="Tasks, pipelines, steps and tools"):
    """Work as the processes report it that do it."""

    task_executions = counter(
        "orchestrator_task_executions_total{status,task_type}",
        "Executions that ended, by outcome: success, error or cancelled.",
    )
    pipeline_seconds = histogram(
        "orchestrator_pipeline_duration_seconds{task_id,pipeline_type}", "How long executions took.", buckets=WORK
    )
    pipeline_executions = counter(
        "orchestrator_pipeline_executions_total{task_id,status}",
        "Pipeline executions by what became of them: started, success or failed; a failure counts once.",
    )
    runs = counter(
        "orchestrator_runs_total{status,task_id,agent_id}",
        "Runs that ended, by outcome: success or failed; each attempt is a run.",
    )
    task_seconds = histogram(
        "orchestrator_task_duration_seconds{task_id,agent_id,success}", "How long runs took.", buckets=WORK
    )
    step_seconds = histogram(
        "orchestrator_step_duration_seconds{tool_addr,step_id,task_id}",
        "How long pipeline steps took; step_id is the step's name.",
        buckets=WORK,
    )
    step_successes = counter("orchestrator_step_success_total{tool_addr,step_id}", "Pipeline steps that succeeded.")
    step_failures = counter(
        "orchestrator_step_failure_total{tool_addr,step_id,error_type}", "Pipeline steps that failed."
    )
    tool_calls = counter("orchestrator_external_tool_calls_total{tool_address,status_code}", "Calls of external tools.")
    tool_seconds = histogram(
        "orchestrator_external_tool_duration_seconds{tool_address,method}",
        "How long calls of external tools took.",
        buckets=WORK,
    )
    redis_operations = counter(
        "orchestrator_redis_operations_total{operation,result}",
        "Operations the host reports as Redis's; failures of a worker's leasing and heartbeat are the database's.",
    )


class WorkerMetrics(MetricSet, title="Workers and scheduler"):
    """Workers and the scheduler as they report themselves."""

    worker_heartbeats = counter("orchestrator_worker_heartbeat_total{worker_id}", "Heartbeats of workers.")
    worker_states = gauge("orchestrator_worker_state{worker_id,state}", "1 for the state a worker said it is in last.")
    lease_seconds = gauge("orchestrator_lease_duration_seconds{worker_id}", "For how long the worker leases work.")
    leases = counter("orchestrator_leases_total{worker_id}", "Work leased.")
    scheduler_ticks = counter(
        "orchestrator_scheduler_ticks_total{result}",
        "What the scheduler did: success, error, schedule_error or load_error.",
    )
    scheduler_jobs_created = counter(
        "orchestrator_scheduler_jobs_created_total{schedule_kind}", "Jobs the scheduler made or fired."
    )
