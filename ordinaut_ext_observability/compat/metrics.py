"""The host's calls about what happens in it, as our metrics. No call raises, whatever it is given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf, nan
from typing import TYPE_CHECKING, Any, cast

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.compat.context import step_name_of
from ordinaut_ext_observability.compat.guard import TimedBlock, never_raises
from ordinaut_ext_observability.metrics.wrapping import within

if TYPE_CHECKING:
    from ordinaut_ext_observability.metrics.declarations import Metrics
    from ordinaut_ext_observability.metrics.family import Counter, Histogram
    from ordinaut_ext_observability.runtime.process import Runtime

__all__ = [
    "OrchestrationMetrics",
    "get_metrics_handler",
    "monitor_execution",
    "orchestrator_metrics",
    "track_http_requests",
    "track_step_execution",
    "track_task_execution",
]

_MAX_WORKERS = 1000
"""Workers whose state is remembered."""

_MAX_PIPELINES = 10_000
"""Pipelines whose start or end is remembered, to time them and to count each end once."""

_ENDED = inf


def _counts(family: Callable[[Metrics], Counter], *names: str, **defaults: object) -> Any:
    """A method that counts one; its arguments, in this order or by these names, are the labels, but for `_…`."""

    @never_raises
    def record(_self: OrchestrationMetrics, /, *args: object, **named: object) -> None:
        given = {**defaults, **dict(zip(names, args, strict=False)), **named}
        family(_metrics()).labels(*(_text(given.get(name)) for name in names if name[0] != "_")).inc()

    return record


class OrchestrationMetrics:
    """What API, scheduler and worker report of themselves; arguments of any type become text."""

    record_task_created = _counts(lambda metrics: metrics.tasks_created, "schedule_kind", "agent_id")
    record_worker_heartbeat = _counts(lambda metrics: metrics.worker_heartbeats, "worker_id")
    record_scheduler_tick = _counts(lambda metrics: metrics.scheduler_ticks, "result")
    record_scheduler_job_created = _counts(lambda metrics: metrics.scheduler_jobs_created, "schedule_kind")
    record_redis_operation = _counts(lambda metrics: metrics.redis_operations, "operation", "result")
    record_security_event = _counts(lambda metrics: metrics.security_events, "event_type", "severity", "result")
    record_authentication_attempt = _counts(lambda metrics: metrics.authentication_attempts, "method", "result")
    record_jwt_token_issued = _counts(lambda metrics: metrics.jwt_tokens_issued, "agent_id", "token_type")
    record_jwt_token_revoked = _counts(lambda metrics: metrics.jwt_tokens_revoked, "reason", reason="manual")
    # The client's address is not kept: it would be a label without end, and a person's.
    record_blocked_request = _counts(lambda metrics: metrics.blocked_requests, "reason")
    record_rate_limit_violation = _counts(lambda metrics: metrics.rate_limit_violations, "_client_ip", "endpoint")

    def __init__(self, registry: object = None) -> None:
        """`registry` is taken for the host's sake: the metrics are on the process's own registry."""
        del registry
        self._worker_states: dict[str, str] = {}
        self._pipelines: dict[tuple[str, int], float] = {}
        """When the pipeline of a task in a thread was reported as started; infinite for one that ended."""
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """A forked child has a lock of its own: its parent's may have been held."""
        self._lock = threading.RLock()  # a signal's handler may report, too

    @never_raises
    def record_step_execution(
        self,
        tool_addr: object = "",
        step_id: object = "",
        task_id: object = "",
        duration: float = 0.0,
        success: object = True,  # noqa: FBT002
        error_type: object = None,
        **_: object,
    ) -> None:
        """A pipeline step ended; `duration` is in seconds. Of `step_id` the step's name is kept."""
        metrics = _metrics()
        tool, step = _text(tool_addr), step_name_of(_text(step_id))
        _observe(metrics.step_seconds, duration, tool, step, _text(task_id))
        if success:
            metrics.step_successes.labels(tool, step).inc()
        else:
            metrics.step_failures.labels(tool, step, _text(error_type) or "unknown").inc()

    @never_raises
    def record_pipeline_execution(self, task_id: object = "", status: object = "", **_: object) -> None:
        """A pipeline started, succeeded or failed. The host tells a failure twice; it counts once."""
        metrics = _metrics()
        task, outcome = _text(task_id), _text(status)
        if outcome not in ("success", "failed"):
            if outcome == "started":
                self._note_pipeline(task, time.perf_counter())
            metrics.pipeline_executions.labels(task, outcome).inc()
            return
        since = self._note_pipeline(task, _ENDED)
        if since == _ENDED:
            return
        seconds = time.perf_counter() - since
        metrics.pipeline_executions.labels(task, outcome).inc()
        succeeded = outcome == "success"
        metrics.task_executions.labels("success" if succeeded else "error", "pipeline").inc()
        _observe(metrics.pipeline_seconds, seconds, task, "pipeline")
        self.record_task_run(task, "", outcome, seconds)

    def _note_pipeline(self, task: str, since: float) -> float:
        """What was noted before; NaN for nothing."""
        key = (task, threading.get_ident())
        with self._lock:
            before = self._pipelines.pop(key, nan)
            self._pipelines[key] = since
            if len(self._pipelines) > _MAX_PIPELINES:
                del self._pipelines[next(iter(self._pipelines))]
        return before

    @never_raises
    def record_task_run(
        self, task_id: object = "", agent_id: object = "", status: object = "", duration: float = 0.0, **_: object
    ) -> None:
        """A run ended after `duration` seconds."""
        metrics = _metrics()
        succeeded = _text(status) in ("success", "succeeded", "completed")
        metrics.runs.labels("success" if succeeded else "failed", _text(task_id), _text(agent_id)).inc()
        _observe(metrics.task_seconds, duration, _text(task_id), _text(agent_id), str(succeeded).lower())

    @never_raises
    def record_external_tool_call(
        self,
        tool_address: object = "",
        method: object = "",
        status_code: object = "",
        duration: float = 0.0,
        **_: object,
    ) -> None:
        """A tool was called; `duration` is in seconds."""
        metrics = _metrics()
        metrics.tool_calls.labels(_text(tool_address), _text(status_code)).inc()
        _observe(metrics.tool_seconds, duration, _text(tool_address), _text(method))

    @never_raises
    def update_active_workers(self, worker_id: object = "", state: object = "", count: float = 1, **_: object) -> None:
        """The worker is in this state, and in no other."""
        metrics = _metrics()
        family = metrics.worker_states
        worker, now = _text(worker_id), _text(state)
        with self._lock:
            before = self._worker_states.pop(worker, None)
            self._worker_states[worker] = now
            if len(self._worker_states) > _MAX_WORKERS:
                del self._worker_states[next(iter(self._worker_states))]
            if before is not None and before != now:
                family.remove(worker, before)
            family.labels(worker, now).set(float(count))
            if not _runtime().collectors.reads_queue:
                metrics.active_workers.labels().set(len(self._worker_states))

    @never_raises
    def record_lease_duration(self, worker_id: object = "", duration: float = 0.0, **_: object) -> None:
        """Work was leased. The host gives the configured length of leases, in seconds, not what a lease took."""
        metrics = _metrics()
        metrics.leases.labels(_text(worker_id)).inc()
        metrics.lease_seconds.labels(_text(worker_id)).set(float(duration))

    @never_raises
    def update_queue_depth(self, depth: float = 0, priority: object = "all", **_: object) -> None:
        metrics = _metrics()
        if _runtime().collectors.reads_queue:
            return
        metrics.due_work_queue_depth.labels(_text(priority)).set(float(depth))
        if priority == "all":
            metrics.queue_depth.labels().set(float(depth))

    @never_raises
    def update_scheduler_lag(self, lag_seconds: float = 0.0, **_: object) -> None:
        metrics = _metrics()
        if not _runtime().collectors.reads_queue:
            metrics.scheduler_lag.labels().set(float(lag_seconds))

    @never_raises
    def update_database_connections(self, pool: object = "", state: object = "", count: float = 0, **_: object) -> None:
        _metrics().database_connections.labels(_text(pool), _text(state)).set(float(count))

    def record_http_request(self, *_: object, **__: object) -> None:
        """Nothing: the extension counts requests."""

    record_plugin_http_request = record_http_request


orchestrator_metrics = OrchestrationMetrics()


def track_step_execution(metrics: OrchestrationMetrics | None = None) -> Callable[[Any], Any]:
    """Decorator for `function(tool_addr, step_id, task_id, …)`: each call is a step."""
    recorder = _recorder(metrics, "track_step_execution")

    def record(named: dict[str, Any], seconds: float, error: BaseException | None) -> None:
        error_type = None if error is None else type(error).__name__
        recorder.record_step_execution(**named, duration=seconds, success=error is None, error_type=error_type)

    return _tracking("track_step_execution", ("tool_addr", "step_id", "task_id"), record)


def track_task_execution(metrics: OrchestrationMetrics | None = None) -> Callable[[Any], Any]:
    """Decorator for `function(task_id, agent_id, …)`: each call is a run."""
    recorder = _recorder(metrics, "track_task_execution")

    def record(named: dict[str, Any], seconds: float, error: BaseException | None) -> None:
        recorder.record_task_run(**named, status="success" if error is None else "failed", duration=seconds)

    return _tracking("track_task_execution", ("task_id", "agent_id"), record)


def track_http_requests(metrics: object = None) -> Callable[[Any], Any]:
    """Decorator that adds nothing: the extension counts requests."""
    _recorder(metrics, "track_http_requests")
    return lambda function: function


def get_metrics_handler(registry: object = None) -> Callable[[], tuple[bytes, dict[str, str]]]:
    """A function that returns this process's metrics as text, and the headers to serve them with."""
    del registry

    def handle() -> tuple[bytes, dict[str, str]]:
        from ordinaut_ext_observability.metrics.negotiation import TEXT

        registry = _runtime().metrics.registry
        registry.refresh()
        return "".join(registry.pieces(openmetrics=False)).encode(), {"Content-Type": TEXT.content_type}

    return handle


def monitor_execution(metric_name: Any = None) -> Any:
    """Decorator: count and time the runs of a function; see `ordinaut_ext_observability.monitor_execution`."""
    from ordinaut_ext_observability.runtime.current import monitor_execution as monitor

    return monitor(metric_name)


def _recorder(metrics: object, decorator: str) -> OrchestrationMetrics:
    """The recorder of a decorator. One written without its parentheses gets the function instead."""
    if metrics is None:
        return orchestrator_metrics
    if not hasattr(metrics, "record_task_run"):
        raise TypeError(f"{decorator} takes metrics or nothing, not {metrics!r}: write @{decorator}()")
    return cast("OrchestrationMetrics", metrics)


def _tracking(
    decorator: str, names: tuple[str, ...], record: Callable[[dict[str, Any], float, BaseException | None], None]
) -> Callable[[Any], Any]:
    """Decorator that records each call under the arguments of these names."""

    def block(args: tuple[Any, ...], kwargs: dict[str, Any]) -> TimedBlock:
        given = {**dict(zip(names, args, strict=False)), **{name: kwargs[name] for name in names if name in kwargs}}
        return TimedBlock(lambda seconds, error: record(given, seconds, error))

    return lambda function: within(decorator, function, block)


def _metrics() -> Metrics:
    from ordinaut_ext_observability.runtime.exporter import export_once

    runtime = _runtime()
    export_once(runtime)
    return runtime.metrics


def _runtime() -> Runtime:
    from ordinaut_ext_observability.runtime.current import current_runtime

    return current_runtime()


def _observe(family: Histogram, duration: object, *label_values: str) -> None:
    """Count the duration where it is one: a finite number of seconds, zero or more."""
    try:
        seconds = float(duration)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - whatever was given, the count beside it stands
        return
    if 0.0 <= seconds < float("inf"):
        family.labels(*label_values).observe(seconds)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def __getattr__(name: str) -> Any:
    if name == "metrics_registry":
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_runtime().metrics.registry)  # type: ignore[arg-type]
        return registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
