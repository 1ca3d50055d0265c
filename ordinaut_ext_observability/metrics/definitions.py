"""Every metric this package exposes: name, type, labels, help and, for histograms, why these buckets."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.family import Counter, Gauge, Histogram, MergedBy
from ordinaut_ext_observability.metrics.registry import Registry

# From a cached answer to the point where clients give up; the rules of Ordinaut ask for 0.5, 1 and 2 seconds.
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)

# Connections and streams live from one exchange to a working day.
CONNECTION_SECONDS = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0)

# A pipeline is one simulated step of under a millisecond or a run of hours.
PIPELINE_SECONDS = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)

# A scrape is due within the scraper's timeout of 10 s and should take a small part of it.
SCRAPE_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


# A check is a read of the kernel's or a request within the timeout of 5 s, of at most an hour.
CHECK_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The families, each an attribute, on a registry of their own."""

    def __init__(
        self,
        registry: Registry,
        budgets: LabelBudgets | None = None,
        *,
        request_seconds: tuple[float, ...] = REQUEST_SECONDS,
    ) -> None:
        self.registry = registry
        self.label_budgets = budgets or LabelBudgets()
        self.uncounted_errors = 0
        """Failures that could not even be counted."""
        self._define_self()
        self._define_http(request_seconds)
        self._define_long_lived()
        self._define_tasks()
        self._define_pipelines()
        self._define_workers()
        self._define_scheduler()
        self._define_dependencies()
        self._define_security()
        self._define_process()
        self._define_health()
        self._define_relay()

    def count_internal_error(self, component: str) -> None:
        """Count a failure inside this package that was kept from the host."""
        try:
            self.internal_errors.labels(component).inc()
        except Exception:  # noqa: BLE001 - called where failures are kept from the host: this one must be, too
            self.uncounted_errors += 1

    def _define_self(self) -> None:
        # First: the families below report their overflows here.
        self.label_overflow = self.registry.register(
            Counter(
                "ordinaut_observability_label_overflow_total",
                "New label values counted as __other__ because the label's budget was used up; "
                "an empty label means the metric's limit of series.",
                ("metric", "label"),
                budgets=LabelBudgets(default=1000),
            )
        )
        self.internal_errors = self.counter(
            "ordinaut_observability_internal_errors_total",
            "Failures inside the observability extension, none of which reached the host.",
            "component",
        )
        self.overhead_seconds = self.counter(
            "ordinaut_observability_overhead_seconds_total",
            "CPU time the extension took from the host: recorder (what is done for finished requests), scrape, "
            "log_writer.",
            "component",
        )
        self.build_info = self.gauge(
            "ordinaut_observability_build_info",
            "Always 1; the labels say what runs.",
            "version",
            "python_version",
            "environment",
            "host_version",
        )
        self.settings_problems = self.gauge(
            "ordinaut_observability_settings_problems",
            "Settings that could not be used and were replaced by their defaults.",
        )
        self.scrape_seconds = self.histogram(
            "ordinaut_observability_scrape_duration_seconds",
            "Time from the start of rendering a scrape to its last byte, pauses for other requests included.",
            "format",
            bounds=SCRAPE_SECONDS,
        )
        self.scrape_bytes = self.gauge(
            "ordinaut_observability_scrape_size_bytes", "Size of the previous scrape, before compression.", "format"
        )
        self.scrape_series = self.gauge(
            "ordinaut_observability_series",
            "Label sets held in memory; a histogram's label set is rendered as several lines.",
        )
        self.metric_clashes = self.counter(
            "ordinaut_observability_metric_clashes_total",
            "Metrics of prometheus_client's default registry left out of the scrape because their names are ours.",
            "metric",
        )
        self.log_lines = self.counter(
            "ordinaut_observability_log_lines_total",
            "Log lines handed to the log writer, by what became of them: written or dropped.",
            "outcome",
        )
        self.request_ids_rejected = self.counter(
            "ordinaut_observability_request_ids_rejected_total",
            "Correlation ids of clients that were replaced, by reason.",
            "reason",
        )
        self.access_refused = self.counter(
            "ordinaut_observability_access_refused_total",
            "Requests to protected endpoints that were turned away.",
            "tier",
            "reason",
        )

    def _define_http(self, request_seconds: tuple[float, ...]) -> None:
        self.http_requests = self.counter(
            "orchestrator_http_requests_total",
            "HTTP requests answered, by method, route template and status code; 499: the client went away first.",
            "method",
            "endpoint",
            "status_code",
        )
        self.http_request_seconds = self.histogram(
            "orchestrator_http_request_duration_seconds",
            "Time from the arrival of a request to the last byte of its response.",
            "method",
            "endpoint",
            bounds=request_seconds,
        )
        self.http_in_progress = self.gauge(
            "orchestrator_http_requests_in_progress",
            "HTTP requests whose response is not complete; server-sent events are counted apart.",
            "method",
            merged_by="sum",
        )
        self.http_exceptions = self.counter(
            "orchestrator_http_exceptions_total",
            "Exceptions that left the host's application unhandled, background tasks included.",
            "method",
            "endpoint",
            "exception_type",
        )
        self.http_request_bytes = self.counter(
            "orchestrator_http_request_body_bytes_total",
            "Bytes of request bodies as read by the application.",
            "method",
            "endpoint",
        )
        self.http_response_bytes = self.counter(
            "orchestrator_http_response_body_bytes_total",
            "Bytes of response bodies as sent.",
            "method",
            "endpoint",
        )
        self.plugin_requests = self.counter(
            "orchestrator_plugin_http_requests_total",
            "HTTP requests answered under /ext/<plugin_id>/.",
            "plugin_id",
            "status_code",
        )
        self.plugin_request_seconds = self.histogram(
            "orchestrator_plugin_http_request_duration_seconds",
            "Time from the arrival of a request under /ext/<plugin_id>/ to the last byte of its response.",
            "plugin_id",
            bounds=request_seconds,
        )

    def _define_long_lived(self) -> None:
        self.streams_open = self.gauge(
            "orchestrator_http_streams_open",
            "Server-sent event streams that are open.",
            "endpoint",
            merged_by="sum",
        )
        self.stream_seconds = self.histogram(
            "orchestrator_http_stream_duration_seconds",
            "How long server-sent event streams lasted.",
            "endpoint",
            bounds=CONNECTION_SECONDS,
        )
        self.stream_messages = self.counter(
            "orchestrator_http_stream_messages_total",
            "Pieces sent on server-sent event streams that have ended.",
            "endpoint",
        )
        self.websockets_open = self.gauge(
            "orchestrator_websocket_connections_open",
            "WebSocket connections that are open.",
            "endpoint",
            merged_by="sum",
        )
        self.websockets = self.counter(
            "orchestrator_websocket_connections_total",
            "WebSocket connections that have ended, by close code; 403: refused before they were accepted.",
            "endpoint",
            "close_code",
        )
        self.websocket_seconds = self.histogram(
            "orchestrator_websocket_connection_duration_seconds",
            "How long accepted WebSocket connections lasted.",
            "endpoint",
            bounds=CONNECTION_SECONDS,
        )
        self.websocket_messages = self.counter(
            "orchestrator_websocket_messages_total",
            "WebSocket messages on connections that have ended.",
            "endpoint",
            "direction",
        )
        self.websocket_bytes = self.counter(
            "orchestrator_websocket_message_bytes_total",
            "Payload of WebSocket messages on connections that have ended; text as UTF-8.",
            "endpoint",
            "direction",
        )

    def _define_tasks(self) -> None:
        self.task_executions = self.counter(
            "orchestrator_task_executions_total",
            "Executions that ended, by outcome: success, error or cancelled.",
            "status",
            "task_type",
        )
        self.pipeline_seconds = self.histogram(
            "orchestrator_pipeline_duration_seconds",
            "How long executions took.",
            "task_id",
            "pipeline_type",
            bounds=PIPELINE_SECONDS,
        )

    def _define_pipelines(self) -> None:
        self.pipeline_executions = self.counter(
            "orchestrator_pipeline_executions_total",
            "Pipeline executions by what became of them: started, success or failed; a failure counts once.",
            "task_id",
            "status",
        )
        self.runs = self.counter(
            "orchestrator_runs_total",
            "Runs that ended, by outcome: success or failed; each attempt is a run.",
            "status",
            "task_id",
            "agent_id",
        )
        self.task_seconds = self.histogram(
            "orchestrator_task_duration_seconds",
            "How long runs took.",
            "task_id",
            "agent_id",
            "success",
            bounds=PIPELINE_SECONDS,
        )
        self.tasks_created = self.counter(
            "orchestrator_tasks_created_total", "Tasks created, by kind of schedule.", "schedule_kind", "agent_id"
        )
        self.step_seconds = self.histogram(
            "orchestrator_step_duration_seconds",
            "How long pipeline steps took; step_id is the step's name.",
            "tool_addr",
            "step_id",
            "task_id",
            bounds=PIPELINE_SECONDS,
        )
        self.step_successes = self.counter(
            "orchestrator_step_success_total", "Pipeline steps that succeeded.", "tool_addr", "step_id"
        )
        self.step_failures = self.counter(
            "orchestrator_step_failure_total", "Pipeline steps that failed.", "tool_addr", "step_id", "error_type"
        )
        self.tool_calls = self.counter(
            "orchestrator_external_tool_calls_total", "Calls of external tools.", "tool_address", "status_code"
        )
        self.tool_seconds = self.histogram(
            "orchestrator_external_tool_duration_seconds",
            "How long calls of external tools took.",
            "tool_address",
            "method",
            bounds=PIPELINE_SECONDS,
        )

    def _define_workers(self) -> None:
        self.worker_heartbeats = self.counter(
            "orchestrator_worker_heartbeat_total", "Heartbeats of workers.", "worker_id"
        )
        self.active_workers = self.gauge(
            "orchestrator_active_workers",
            "Workers that show signs of life: by their heartbeats where PostgreSQL is read, else those that report.",
            merged_by="sum",
        )
        self.worker_states = self.gauge(
            "orchestrator_worker_state", "1 for the state a worker said it is in last.", "worker_id", "state"
        )
        self.lease_seconds = self.gauge(
            "orchestrator_lease_duration_seconds", "For how long the worker leases work.", "worker_id"
        )
        self.leases = self.counter("orchestrator_leases_total", "Work leased.", "worker_id")
        self.due_work_queue_depth = self.gauge(
            "orchestrator_due_work_queue_depth",
            "Work that is due, by priority, and all of it under `all`: rows of due_work that a worker could take now; "
            "where PostgreSQL is not read, as a worker saw it at its last heartbeat.",
            "priority",
        )
        self.queue_depth = self.gauge(
            "orchestrator_queue_depth",
            "Work that is due: rows of due_work that a worker could take now; where PostgreSQL is not read, as a "
            "worker saw it at its last heartbeat.",
        )

    def _define_scheduler(self) -> None:
        self.scheduler_lag = self.gauge(
            "orchestrator_scheduler_lag_seconds",
            "How long the oldest work in due_work that nobody has taken has been due; where PostgreSQL is not read, "
            "how late the scheduler last fired a job.",
        )
        self.scheduler_ticks = self.counter(
            "orchestrator_scheduler_ticks_total",
            "What the scheduler did: success, error, schedule_error or load_error.",
            "result",
        )
        self.scheduler_jobs_created = self.counter(
            "orchestrator_scheduler_jobs_created_total", "Jobs the scheduler made or fired.", "schedule_kind"
        )

    def _define_dependencies(self) -> None:
        self.database_connections = self.gauge(
            "orchestrator_database_connections",
            "Connections of the host's database pools.",
            "pool",
            "state",
            merged_by="sum",
        )
        self.redis_operations = self.counter(
            "orchestrator_redis_operations_total",
            "Operations the host reports as Redis's; failures of a worker's leasing and heartbeat are the database's.",
            "operation",
            "result",
        )

    def _define_security(self) -> None:
        self.security_events = self.counter(
            "orchestrator_security_events_total",
            "Security events of the host.",
            "event_type",
            "severity",
            "result",
        )
        self.authentication_attempts = self.counter(
            "orchestrator_authentication_attempts_total",
            "Attempts to authenticate: success, failed or error.",
            "method",
            "result",
        )
        self.jwt_tokens_issued = self.counter(
            "orchestrator_jwt_tokens_issued_total", "Tokens issued: access or refresh.", "agent_id", "token_type"
        )
        self.jwt_tokens_revoked = self.counter("orchestrator_jwt_tokens_revoked_total", "Tokens revoked.", "reason")
        self.rate_limit_violations = self.counter(
            "orchestrator_rate_limit_violations_total", "Requests over a limit.", "endpoint"
        )
        self.blocked_requests = self.counter(
            "orchestrator_blocked_requests_total", "Requests the host's security layer turned away.", "reason"
        )

    def _define_process(self) -> None:
        self.event_loop_lag = self.gauge(
            "orchestrator_process_event_loop_lag_seconds",
            "How late the host's event loop last ran a timer; while it is blocked, for how long it has been.",
            "process",
        )

    def _define_health(self) -> None:
        self.health_status = self.gauge(
            "orchestrator_health_status",
            "Status of each health check: 0 healthy, 1 degraded or unknown, 2 unhealthy or without a recent result.",
            "check",
        )
        self.health_check_seconds = self.histogram(
            "orchestrator_health_check_duration_seconds",
            "How long runs of health checks took, those that timed out included.",
            "check",
            bounds=CHECK_SECONDS,
        )
        self.health_last_success = self.gauge(
            "orchestrator_health_last_success_timestamp_seconds",
            "When a run of the health check last ended that was not unhealthy, in seconds since 1970.",
            "check",
        )
        self.health_transitions = self.counter(
            "orchestrator_health_transitions_total",
            "Changes of a health check's status, by the status after it, `unknown` too; the first result counts.",
            "check",
            "status",
        )

    def _define_relay(self) -> None:
        self.relay_processes = self.gauge(
            "ordinaut_observability_relay_processes",
            "Processes whose metrics are merged here and that have not ended, this one included.",
        )
        self.relay_age = self.gauge(
            "ordinaut_observability_relay_age_seconds",
            "How long ago the relay store answered last. While it grows, what other processes count is not seen, and "
            "where several API processes share the store, the merged counts stand still.",
        )
        self.relay_failures = self.counter(
            "ordinaut_observability_relay_failures_total",
            "Calls of the relay store that failed: store, or origin (where queued work came from); number: counts "
            "that make no sense, not finite or below zero, and are left out.",
            "operation",
        )

    def counter(self, name: str, documentation: str, *labels: str) -> Counter:
        """A counter under the label budgets, registered."""
        return self.registry.register(
            Counter(name, documentation, labels, budgets=self.label_budgets, on_overflow=self._overflow)
        )

    def gauge(self, name: str, documentation: str, *labels: str, merged_by: MergedBy = "max") -> Gauge:
        """A gauge under the label budgets, registered; `merged_by` stands for the values of several processes."""
        return self.registry.register(
            Gauge(
                name,
                documentation,
                labels,
                merged_by=merged_by,
                budgets=self.label_budgets,
                on_overflow=self._overflow,
            )
        )

    def histogram(self, name: str, documentation: str, *labels: str, bounds: tuple[float, ...]) -> Histogram:
        """A histogram under the label budgets, registered."""
        return self.registry.register(
            Histogram(
                name, documentation, labels, bounds=bounds, budgets=self.label_budgets, on_overflow=self._overflow
            )
        )

    def _overflow(self, metric: str, label: str) -> None:
        self.label_overflow.labels(metric, label).inc()
