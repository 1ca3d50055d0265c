"""The host's calls about what happens in it, as our metrics. No call raises, whatever it is given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.compat import tracing
from ordinaut_ext_observability.compat.context import STEP_ID_SEPARATOR
from ordinaut_ext_observability.compat.guard import TimedBlock, never_raises, runtime
from ordinaut_ext_observability.metrics.execution import within

__all__ = [
    "OrchestrationMetrics",
    "get_metrics_handler",
    "monitor_execution",
    "orchestrator_metrics",
    "track_http_requests",
    "track_step_execution",
    "track_task_execution",
]

_MAX_NOTED = 1000  # workers and pipelines of which something is remembered
_ENDED = inf


def _reports(arguments: str, *families: str, audit: str = "", **defaults: object) -> Any:
    """A method with these arguments, in this order or by name, that reports to these metrics; see `_report`.

    With `audit` it is also kept in the audit, as an event of that type.
    """
    names = arguments.split()

    @never_raises
    def report(_self: OrchestrationMetrics, /, *args: object, **named: object) -> None:
        given: dict[str, Any] = {**defaults, **dict(zip(names, args, strict=False)), **named}
        _report(given, given.get(names[-1], 0.0), *families)
        if audit:
            runtime().logs.audit.record(audit, given)
        if "tool_calls" in families:
            facts = {f"tool.{name.removeprefix('tool_')}": _text(given.get(name)) for name in names[:3]}
            error = "failed" if facts["tool.status_code"] >= "400" else None
            tracing.Span("call_tool", facts, seconds=given.get("duration", 0.0)).__enter__().end(error)

    return report


class OrchestrationMetrics:
    """Takes reports of API, scheduler and worker; arguments of any type become text, durations are seconds."""

    record_task_created = _reports("schedule_kind agent_id", "tasks_created")
    record_worker_heartbeat = _reports("worker_id", "worker_heartbeats")
    record_scheduler_tick = _reports("result", "scheduler_ticks")
    record_scheduler_job_created = _reports("schedule_kind", "scheduler_jobs_created")
    record_redis_operation = _reports("operation result", "redis_operations")
    record_security_event = _reports("event_type severity result", "security_events", audit="security_event")
    record_authentication_attempt = _reports("method result", "authentication_attempts")
    record_jwt_token_issued = _reports("agent_id token_type", "jwt_tokens_issued")
    record_jwt_token_revoked = _reports("reason", "jwt_tokens_revoked", audit="jwt_token_revoked", reason="manual")
    # No label has the client's address: it would be one without end, and a person's.
    record_blocked_request = _reports("reason client_ip", "blocked_requests", audit="blocked_request")
    record_rate_limit_violation = _reports("client_ip endpoint", "rate_limit_violations", audit="rate_limit_violation")
    record_external_tool_call = _reports("tool_address method status_code duration", "tool_calls", "tool_seconds")
    # The host gives the configured length of leases, not what a lease took.
    record_lease_duration = _reports("worker_id duration", "leases", "lease_seconds")
    update_database_connections = _reports("pool state count", "database_connections")

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
        tool_addr: Any = "",
        step_id: Any = "",
        task_id: Any = "",
        duration: Any = 0.0,
        success: Any = True,  # noqa: FBT002
        error_type: Any = None,
        **_: Any,
    ) -> None:
        """A pipeline step ended. Of `step_id` the step's name is kept."""
        step_name = _text(step_id).rsplit(STEP_ID_SEPARATOR, 1)[0]
        step = {"tool_addr": tool_addr, "step_id": step_name, "task_id": task_id}
        result = "step_successes" if success else "step_failures"
        error = _text(error_type) or "unknown"
        _report({**step, "error_type": error}, duration, result, "step_seconds")
        failure = None if success else error
        if not tracing.report(tracing.STEP, None, failure):
            tracing.step_span(step_name, tool_addr, duration).__enter__().end(failure)

    @never_raises
    def record_pipeline_execution(self, task_id: Any = "", status: Any = "", **_: Any) -> None:
        """A pipeline started, succeeded or failed. The host tells a failure twice; it counts once."""
        task, outcome, now = _text(task_id), _text(status), time.perf_counter()
        ended, since = outcome in ("success", "failed"), None
        if ended or outcome == "started":
            with self._lock:
                key = (task, threading.get_ident())
                since = _note(self._pipelines, key, _ENDED if ended else now)
        if ended and since == _ENDED:
            return
        _report({"task_id": task, "status": outcome}, None, "pipeline_executions")
        if outcome == "started":
            tracing.report(tracing.RUN, tracing.pipeline_span())
        if ended:
            labels = {"task_id": task, "task_type": "pipeline", "pipeline_type": "pipeline"}
            labels["status"] = "success" if outcome == "success" else "error"
            seconds = None if since is None else now - since
            _report(labels, seconds, "task_executions", "pipeline_seconds")
            self.record_task_run(task, "", outcome, seconds)
            tracing.report(tracing.RUN, None, None if outcome == "success" else outcome)

    @never_raises
    def record_task_run(
        self, task_id: Any = "", agent_id: Any = "", status: Any = "", duration: Any = 0.0, **_: Any
    ) -> None:
        succeeded = _text(status) in ("success", "succeeded", "completed")
        result = {"status": "success" if succeeded else "failed", "success": str(succeeded).lower()}
        _report({"task_id": task_id, "agent_id": agent_id, **result}, duration, "runs", "task_seconds")

    @never_raises
    def update_active_workers(self, worker_id: Any = "", state: Any = "", count: Any = 1, **_: Any) -> None:
        """The worker is in this state, and in no other."""
        worker, now = _text(worker_id), _text(state)
        with self._lock:
            before = _note(self._worker_states, worker, now)
            if before is not None and before != now:
                runtime().metrics.worker_states.remove(worker, before)
            _report({"worker_id": worker, "state": now}, count, "worker_states")
            if not runtime().collectors.reads_queue:
                _report({}, len(self._worker_states), "active_workers")

    @never_raises
    def update_queue_depth(self, depth: Any = 0, priority: Any = "all", **_: Any) -> None:
        if not runtime().collectors.reads_queue:
            families = ("due_work_queue_depth", "queue_depth")
            _report({"priority": priority}, depth, *families[: 2 if priority == "all" else 1])

    @never_raises
    def update_scheduler_lag(self, lag_seconds: Any = 0.0, **_: Any) -> None:
        if not runtime().collectors.reads_queue:
            _report({}, lag_seconds, "scheduler_lag")

    def record_http_request(self, *_: object, **__: object) -> None:
        """Nothing: the extension counts requests."""

    record_plugin_http_request = record_http_request


orchestrator_metrics = OrchestrationMetrics()


def track_step_execution(metrics: OrchestrationMetrics | None = None) -> Callable[[Any], Any]:
    """Decorator for `function(tool_addr, step_id, task_id, …)`: each call is a step."""
    recorder = _recorder(metrics, "track_step_execution")
    return _tracking("track_step_execution", recorder.record_step_execution, "tool_addr", "step_id", "task_id")


def track_task_execution(metrics: OrchestrationMetrics | None = None) -> Callable[[Any], Any]:
    """Decorator for `function(task_id, agent_id, …)`: each call is a run."""
    recorder = _recorder(metrics, "track_task_execution")
    return _tracking("track_task_execution", recorder.record_task_run, "task_id", "agent_id")


def track_http_requests(metrics: OrchestrationMetrics | None = None) -> Callable[[Any], Any]:
    """Decorator that adds nothing: the extension counts requests."""
    _recorder(metrics, "track_http_requests")
    return lambda function: function


def get_metrics_handler(registry: object = None) -> Callable[[], tuple[bytes, dict[str, str]]]:
    """A function that returns this process's metrics as text, and the headers to serve them with."""
    del registry

    def handle() -> tuple[bytes, dict[str, str]]:
        from ordinaut_ext_observability.metrics.negotiation import TEXT

        registry = runtime().metrics.registry
        registry.refresh()
        return "".join(registry.pieces(openmetrics=False)).encode(), {"Content-Type": TEXT.content_type}

    return handle


def monitor_execution(metric_name: Any = None) -> Any:
    """Decorator: count and time the runs of a function; see `ordinaut_ext_observability.monitor_execution`."""
    from ordinaut_ext_observability.runtime.current import monitor_execution as monitor

    return monitor(metric_name)


def _recorder(metrics: OrchestrationMetrics | None, decorator: str) -> OrchestrationMetrics:
    """The recorder of a decorator. One written without its parentheses gets the function instead."""
    if metrics is not None and not isinstance(metrics, OrchestrationMetrics):
        raise TypeError(f"{decorator} takes metrics or nothing, not {metrics!r}: write @{decorator}()")
    return metrics or orchestrator_metrics


def _tracking(decorator: str, record: Callable[..., None], *names: str) -> Callable[[Any], Any]:
    """Decorator that records each call: its arguments of these names, its seconds and how it ended."""

    def block(args: tuple[Any, ...], kwargs: dict[str, Any]) -> TimedBlock:
        given = {**dict(zip(names, args, strict=False)), **{name: kwargs[name] for name in names if name in kwargs}}

        def ended(seconds: float, error: BaseException | None) -> None:
            error_type = None if error is None else type(error).__name__
            status = "success" if error is None else "failed"
            record(**given, duration=seconds, status=status, success=error is None, error_type=error_type)

        return TimedBlock(ended)

    return lambda function: within(decorator, function, block)


def _report(given: Mapping[str, object], value: Any, *families: str) -> None:
    """Count one in counters, set gauges to the value, observe it in histograms where it is a duration.

    Their labels are what is given under their names.
    """
    process = runtime()
    process.ports.export_once(process)
    for name in families:
        family: Any = getattr(process.metrics, name)
        if family.kind == "histogram" and not _is_duration(value):
            continue
        child = family.labels(*[_text(given.get(label)) for label in family.label_names])
        if family.kind == "counter":
            child.inc()
        else:
            (child.set if family.kind == "gauge" else child.observe)(float(value))


def _is_duration(value: Any) -> bool:
    try:
        return 0.0 <= float(value) < inf
    except Exception:  # noqa: BLE001 - whatever was given, the count beside it stands
        return False


def _note(notes: dict[Any, Any], key: object, note: object) -> Any:
    """Note it as the newest, and forget the oldest where there are too many; returns what was noted before."""
    before = notes.pop(key, None)
    notes[key] = note
    if len(notes) > _MAX_NOTED:
        del notes[next(iter(notes))]
    return before


def _text(value: object) -> str:
    return "" if value is None else str(value)


def __getattr__(name: str) -> Any:
    if name == "metrics_registry":
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(runtime().metrics.registry)  # type: ignore[arg-type]
        return registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
