"""The names and call shapes of `observability` that Ordinaut 2.2.2, its scripts and its tests use."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from ordinaut_ext_observability.runtime import current
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.parts import RelaySettings
from ordinaut_ext_observability.settings.load import Settings

NAMES = {
    "observability.logging": (
        *("api_logger", "worker_logger", "scheduler_logger", "pipeline_logger", "set_request_context"),
        *("generate_request_id", "generate_step_id", "generate_run_id", "log_function_call", "track_http_requests"),
        *("log_with_context", "StructuredLogger", "clear_request_context", "get_request_context"),
        *("get_logger", "RequestContext", "StructuredFormatter"),
    ),
    "observability.metrics": (
        *("orchestrator_metrics", "track_step_execution", "track_task_execution", "track_http_requests"),
        *("get_metrics_handler", "OrchestrationMetrics", "monitor_execution", "metrics_registry"),
    ),
    "observability.health": ("SystemHealthMonitor", "HealthStatus", "HealthCheck", "HealthMonitor"),
    "observability.alerts": ("AlertSeverity", "AlertStatus", "Alert", "AlertRule", "AlertManager"),
}

TASK = UUID(int=7)

# As the host makes them: what is positional there is positional here.
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("record_authentication_attempt", ("credentials", "failed"), {}),
    ("record_jwt_token_issued", (str(TASK), "access"), {}),
    ("record_jwt_token_revoked", ("manual",), {}),
    ("record_security_event", (), {"event_type": "ip_blocked", "severity": "high"}),
    (
        "record_external_tool_call",
        (),
        {"tool_address": "demo.echo", "method": "simulated", "status_code": 200, "duration": 0.1},
    ),
    ("record_pipeline_execution", (TASK, "started"), {}),
    ("record_pipeline_execution", (TASK, "success"), {}),
    (
        "record_step_execution",
        (),
        {"tool_addr": "demo.echo", "step_id": "s1~0a1b2c3d", "task_id": TASK, "duration": 0.1, "success": True},
    ),
    (
        "record_step_execution",
        (),
        {"tool_addr": "t", "step_id": "s", "task_id": TASK, "duration": 0, "success": False, "error_type": "E"},
    ),
    ("record_scheduler_job_created", ("cron",), {}),
    ("record_scheduler_tick", ("success",), {}),
    ("update_scheduler_lag", (1.5,), {}),
    ("record_lease_duration", (), {"worker_id": "w1", "duration": 60}),
    ("record_redis_operation", ("heartbeat", "error"), {}),
    ("record_worker_heartbeat", ("w1",), {}),
    ("update_queue_depth", (3,), {}),
    ("update_active_workers", (), {"worker_id": "w1", "state": "processing", "count": 1}),
    ("record_task_run", (TASK, "agent", "success", 1.0), {}),
    ("record_task_created", ("cron", "agent"), {}),
    ("update_database_connections", ("sync", "active", 3), {}),
    ("record_rate_limit_violation", ("10.0.0.1", "/tasks"), {}),
    ("record_blocked_request", ("suspicious", "10.0.0.1"), {}),
    ("record_http_request", ("GET", "/tasks", 200, 0.1), {}),
    ("record_plugin_http_request", ("webui", 200, 0.1), {}),
]

ARGUMENTS = (
    *("agent_id", "count", "client_ip", "duration", "endpoint", "event_type", "method", "operation", "pool", "reason"),
    *("result", "schedule_kind", "severity", "state", "status_code", "token_type", "tool_address", "worker_id"),
)
"""Of the calls whose signature does not name them."""

EVENTS = {
    "api_request": {"method": "GET", "path": "/tasks", "status_code": 200, "duration_ms": 1.5},
    "pipeline_step_started": {"step_id": "s", "tool_address": "t"},
    "pipeline_step_completed": {"step_id": "s", "tool_address": "t", "success": False, "duration_ms": 1.5},
    "external_tool_call": {"tool_address": "t", "method": "m", "status_code": 200, "duration_ms": 1.5},
    "lease_acquired": {"worker_id": "w", "task_id": TASK, "lease_duration_seconds": 60},
    "worker_heartbeat": {"worker_id": "w", "queue_depth": 3, "active_leases": 1},
    "task_created": {"task_id": TASK, "agent_id": "a", "schedule_kind": "cron", "title": "t"},
    "task_started": {"task_id": TASK, "run_id": "r", "agent_id": "a", "attempt": 1},
    "task_completed": {"task_id": TASK, "run_id": "r", "success": True, "duration_ms": 1.5},
    "lease_released": {"worker_id": "w", "task_id": TASK, "duration_ms": 1.5},
    "scheduler_tick": {"jobs_created": 1, "lag_seconds": 0.5},
    "performance_alert": {"metric_name": "m", "current_value": 2, "threshold": 1},
}


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __repr__(self) -> str:  # the same in every process that collects the tests
        return "Broken()"


ODD = (
    None,
    TASK,
    datetime(2026, 1, 1, tzinfo=UTC),
    [1],
    {"a": 1},
    b"\xff",
    "\ud800",
    Broken(),
    object,
    float("nan"),
    -1,
)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, log_lines: Any) -> Runtime:
    """The process's runtime, its lines in `log_lines`."""
    settings = Settings(relay=RelaySettings(store="memory"))
    runtime = Runtime(settings)
    runtime.logs.setup = current.Runtime(settings).logs.setup
    monkeypatch.setattr(current, "_current", runtime)
    monkeypatch.setattr(runtime.logs.setup.handler, "_writer", log_lines.writer)
    yield runtime
    runtime.logs.setup.restore()
    runtime.stop()


@pytest.fixture
def orchestrator_metrics(runtime: Runtime) -> Any:
    from observability.metrics import OrchestrationMetrics

    return OrchestrationMetrics()


def failures(runtime: Runtime) -> float:
    return sum(child.value for child in runtime.metrics.internal_errors.children())


def series(runtime: Runtime, name: str) -> dict[tuple[str, ...], float]:
    (family,) = [family for family in runtime.metrics.registry.families() if family.name == name]
    return {child.label_values: getattr(child, "value", None) or sum(child.counts) for child in family.children()}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_name_can_be_imported(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
def test_call_of_the_host_is_taken_and_fails_nowhere(
    runtime: Runtime, orchestrator_metrics: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    before = sum(len(family) for family in runtime.metrics.registry.families())
    getattr(orchestrator_metrics, name)(*args, **kwargs)
    assert failures(runtime) == 0
    counted = sum(len(family) for family in runtime.metrics.registry.families())
    nothing_to_count = name.endswith("http_request")
    assert (counted > before) is not nothing_to_count or name == "update_scheduler_lag"


@pytest.mark.parametrize("odd", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", sorted({name for name, _, _ in CALLS}))
def test_no_call_raises_whatever_it_is_given(orchestrator_metrics: Any, name: str, odd: object) -> None:
    call = getattr(orchestrator_metrics, name)
    parameters = [
        parameter.name
        for parameter in inspect.signature(call).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    call()
    call(*[odd] * (len(parameters) or 4))
    call(**dict.fromkeys(parameters or ARGUMENTS, odd), unknown=odd)


@pytest.mark.parametrize("logger", ["api_logger", "worker_logger", "scheduler_logger", "pipeline_logger"])
def test_named_loggers_write_lines_of_their_names(runtime: Runtime, log_lines: Any, logger: str) -> None:
    log = getattr(importlib.import_module("observability.logging"), logger)
    log = type(log)(log.name)
    for level in ("debug", "info", "warning", "error", "critical", "exception"):
        getattr(log, level)(level, user="ann")
    lines = log_lines.all()
    assert [line["message"] for line in lines] == ["info", "warning", "error", "critical", "exception"]
    assert {line["logger"] for line in lines} == {f"orchestrator.{logger.removesuffix('_logger')}"}
    assert {(line["module"], line["function"], line["user"]) for line in lines} == {
        ("test_surface", "test_named_loggers_write_lines_of_their_names", "ann")
    }


@pytest.fixture
def log(runtime: Runtime) -> Any:
    from observability.logging import StructuredLogger

    return StructuredLogger("tests.surface", logging.DEBUG)


@pytest.mark.parametrize(("event", "fields"), EVENTS.items(), ids=EVENTS)
def test_domain_event_has_its_type_and_fields(log: Any, log_lines: Any, event: str, fields: dict[str, Any]) -> None:
    getattr(log, event)(**fields)
    line = log_lines.only()
    assert line["event_type"] == event
    assert {name: line[name] for name in fields} == {
        name: str(value) if isinstance(value, UUID) else value for name, value in fields.items()
    }


@pytest.mark.parametrize(("event", "fields"), EVENTS.items(), ids=EVENTS)
def test_domain_event_takes_its_fields_by_position(
    log: Any, log_lines: Any, event: str, fields: dict[str, Any]
) -> None:
    """As the host's scripts give them."""
    getattr(log, event)(*fields.values(), *["more"] * 5)
    line = log_lines.only()
    assert {name: line[name] for name in fields} == {
        name: str(value) if isinstance(value, UUID) else value for name, value in fields.items()
    }


def test_messages_with_arguments_and_taken_names(log: Any, log_lines: Any) -> None:
    log.info("to %s", "ann")
    log.info("to %d", "ann")
    log.info()
    log.info("m", message=1, self=2, level=3)
    lines = log_lines.all()
    assert lines[0]["message"] == "to ann"
    assert lines[1]["message"].startswith("to %d")
    assert lines[2]["message"] == ""
    assert (lines[3]["message_"], lines[3]["self"], lines[3]["level_"]) == (1, 2, 3)


def test_a_level_that_does_not_exist_keeps_no_line_back(runtime: Runtime, log_lines: Any) -> None:
    from observability.logging import StructuredLogger

    StructuredLogger("tests.surface.loud", "LOUD").info("said")
    assert log_lines.messages() == ["said"]


def test_security_event_keeps_both_types(log: Any, log_lines: Any) -> None:
    log.security_event("brute_force", agent_id="a")
    line = log_lines.only()
    assert (line["event_type"], line["security_event_type"], line["agent_id"]) == ("security_event", "brute_force", "a")


def test_any_keyword_field_is_kept(log: Any, log_lines: Any) -> None:
    log.error("m", exception="text", title="t", scopes=["a"], details={"b": 1}, path="/", name="n", args=(1,), msg="x")
    line = log_lines.only()
    assert (line["exception"], line["title"], line["scopes"], line["details"], line["path"]) == (
        "text", "t", ["a"], {"b": 1}, "/",
    )  # fmt: skip
    assert (line["name_"], line["args_"], line["msg_"]) == ("n", [1], "x")


def test_exc_info_prints_the_traceback(log: Any, log_lines: Any) -> None:
    try:
        raise LookupError("here")
    except LookupError as error:
        log.error("with", exc_info=True, exception="mine")  # noqa: G201
        log.exception("too")
        log.error("given", exc_info=error)
    log.error("none", exc_info=True)  # noqa: LOG014
    lines = log_lines.all()
    assert [line.get("exception_type") for line in lines] == ["LookupError"] * 3 + [None]
    assert all("Traceback" in line["exception"] for line in lines[:3])
    assert lines[0]["exception_"] == "mine"


@pytest.mark.parametrize("odd", ODD, ids=lambda value: type(value).__name__)
def test_no_log_call_raises_whatever_it_is_given(log: Any, log_lines: Any, odd: object) -> None:
    for name in ("info", "exception", *EVENTS):
        arguments = (odd,) if name in ("info", "exception") else ()
        getattr(log, name)(*arguments, exc_info=odd, stack_info=odd, extra=odd, value=odd, task_id=odd)
    assert len(log_lines.all()) == 2 + len(EVENTS)


def test_a_failure_is_counted_once_though_the_host_tells_it_twice(runtime: Runtime, orchestrator_metrics: Any) -> None:
    for status in ("started", "failed", "failed", "started", "failed", "failed", "started", "success"):
        orchestrator_metrics.record_pipeline_execution(TASK, status)
    task = str(TASK)
    assert series(runtime, "orchestrator_pipeline_executions_total") == {
        (task, "started"): 3, (task, "failed"): 2, (task, "success"): 1,
    }  # fmt: skip
    assert series(runtime, "orchestrator_runs_total") == {("failed", task, ""): 2, ("success", task, ""): 1}
    assert series(runtime, "orchestrator_task_executions_total") == {
        ("error", "pipeline"): 2,
        ("success", "pipeline"): 1,
    }
    assert series(runtime, "orchestrator_pipeline_duration_seconds") == {(task, "pipeline"): 3}
    assert series(runtime, "orchestrator_task_duration_seconds") == {(task, "", "false"): 2, (task, "", "true"): 1}


@pytest.mark.parametrize("duration", [None, "x", float("nan"), float("inf"), -1, Broken()], ids=repr)
def test_an_odd_duration_costs_no_count(runtime: Runtime, orchestrator_metrics: Any, duration: Any) -> None:
    orchestrator_metrics.record_step_execution("t", "s", TASK, duration, False, "E")
    orchestrator_metrics.record_task_run(TASK, "a", "success", duration)
    assert series(runtime, "orchestrator_step_failure_total") == {("t", "s", "E"): 1}
    assert series(runtime, "orchestrator_runs_total") == {("success", str(TASK), "a"): 1}
    assert series(runtime, "orchestrator_step_duration_seconds") == {}


def test_states_of_many_workers_are_bounded(orchestrator_metrics: Any) -> None:
    for number in range(5000):
        orchestrator_metrics.update_active_workers(worker_id=f"w{number}", state="idle")
    assert len(orchestrator_metrics._worker_states) <= 1000


def test_a_forked_child_can_report_though_the_parents_locks_were_held(run_code: Any) -> None:
    child = run_code("""
import os, signal, threading
from observability.metrics import orchestrator_metrics as metrics
metrics.record_pipeline_execution("t", "started")
from ordinaut_ext_observability.runtime.current import current_runtime
family = current_runtime().metrics.worker_heartbeats
held, go_on = threading.Event(), threading.Event()
def hold():
    with metrics._lock, family._lock, family._creation_lock:
        held.set()
        go_on.wait(20)
threading.Thread(target=hold, daemon=True).start()
held.wait()
pid = os.fork()
if not pid:
    signal.alarm(5)
    metrics.record_pipeline_execution("t", "success")
    metrics.record_worker_heartbeat("w")
    os._exit(0 if family.labels("w").value == 1 else 1)
go_on.set()
print(os.waitpid(pid, 0)[1])
""")
    assert child.out == "0\n", child.err


def test_step_ids_are_cut_to_the_steps_name(runtime: Runtime, orchestrator_metrics: Any) -> None:
    from observability.logging import generate_step_id

    ids = {generate_step_id("fetch-mail") for _ in range(50)}
    assert len(ids) == 50
    for step_id in ids:
        orchestrator_metrics.record_step_execution("t", step_id, TASK, 0.1, True)
    assert series(runtime, "orchestrator_step_success_total") == {("t", "fetch-mail"): 50}


def test_worker_is_in_one_state_at_a_time(runtime: Runtime, orchestrator_metrics: Any) -> None:
    for state in ("starting", "idle", "processing"):
        orchestrator_metrics.update_active_workers(worker_id="w1", state=state, count=1)
    orchestrator_metrics.update_active_workers(worker_id="w2", state="idle")
    assert series(runtime, "orchestrator_worker_state") == {("w1", "processing"): 1, ("w2", "idle"): 1}
    assert series(runtime, "orchestrator_active_workers") == {(): 2}


def test_step_id_labels_and_addresses_of_clients_are_bounded(runtime: Runtime, orchestrator_metrics: Any) -> None:
    for number in range(1000):
        orchestrator_metrics.record_step_execution("t", f"step{number}", UUID(int=number), 0.1, True)
        orchestrator_metrics.record_blocked_request("reason", f"10.0.{number // 256}.{number % 256}")
    assert len(runtime.metrics.step_successes) <= 101
    assert series(runtime, "orchestrator_blocked_requests_total") == {("reason",): 1000}


def test_metrics_handler_gives_text_of_this_process(runtime: Runtime, orchestrator_metrics: Any) -> None:
    from observability.metrics import get_metrics_handler

    orchestrator_metrics.record_worker_heartbeat("w1")
    body, headers = get_metrics_handler()()
    assert b'orchestrator_worker_heartbeat_total{worker_id="w1"} 1.0' in body
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_decorators_count_and_pass_on(runtime: Runtime) -> None:
    from observability.metrics import track_http_requests, track_step_execution, track_task_execution

    @track_task_execution()
    async def run(task_id: str, agent_id: str, result: str) -> str:
        return result

    @track_step_execution()
    def step(tool_addr: str, step_id: str, task_id: str) -> None:
        raise ValueError(tool_addr)

    assert asyncio.run(run("t", "a", "done")) == "done"
    with pytest.raises(ValueError, match="tool"):
        step("tool", step_id="s", task_id="t")
    assert series(runtime, "orchestrator_runs_total") == {("success", "t", "a"): 1}
    assert series(runtime, "orchestrator_step_failure_total") == {("tool", "s", "ValueError"): 1}
    assert track_http_requests()(run) is run


def test_log_function_call_wraps_functions_of_both_kinds(runtime: Runtime, log_lines: Any) -> None:
    from observability.logging import log_function_call, pipeline_logger

    log = type(pipeline_logger)("tests.surface.calls", logging.INFO)

    @log_function_call(log, level=logging.INFO)
    def run_pipeline(value: int) -> int:
        return 1 // value

    @log_function_call(log)
    async def later() -> str:
        return "later"

    assert run_pipeline(1) == 1
    assert run_pipeline.__name__ == "run_pipeline"
    with pytest.raises(ZeroDivisionError):
        run_pipeline(0)
    assert asyncio.run(later()) == "later"
    completed, failed = log_lines.all()
    assert (completed["called"], completed["level"]) == ("run_pipeline", "INFO")
    assert (failed["level"], failed["exception_type"]) == ("ERROR", "ZeroDivisionError")


def test_decorators_count_to_the_end_of_what_is_awaited(runtime: Runtime, log_lines: Any) -> None:
    from observability.logging import log_function_call, pipeline_logger
    from observability.metrics import track_step_execution, track_task_execution

    log = type(pipeline_logger)("tests.surface.awaited", logging.INFO)
    gate = asyncio.Event()

    async def fail(task_id: str) -> None:
        await gate.wait()
        raise ValueError(task_id)

    @log_function_call(log)
    @track_task_execution()
    @track_step_execution()
    def run(task_id: str, *more: str) -> Coroutine[Any, Any, None]:
        return fail(task_id)

    async def main() -> None:
        task = asyncio.create_task(run("t", "s", "t"))
        await asyncio.sleep(0)
        assert series(runtime, "orchestrator_runs_total") == {}
        assert log_lines.all() == []
        gate.set()
        with pytest.raises(ValueError, match="t"):
            await task

    asyncio.run(main())
    assert series(runtime, "orchestrator_runs_total") == {("failed", "t", "s"): 1}
    assert series(runtime, "orchestrator_step_failure_total") == {("t", "s", "ValueError"): 1}
    assert log_lines.only()["message"] == "Function call failed"


def decorators() -> dict[str, Callable[[Any], Any]]:
    from observability.logging import log_function_call, log_with_context
    from observability.metrics import monitor_execution, track_step_execution, track_task_execution

    return {
        "log_function_call": log_function_call(),
        "log_with_context": log_with_context,
        "monitor_execution": monitor_execution,
        "track_step_execution": track_step_execution(),
        "track_task_execution": track_task_execution(),
    }


@pytest.mark.parametrize("name", decorators())
def test_decorators_refuse_what_is_no_function_where_it_stands(name: str) -> None:
    def generator() -> Iterator[int]:
        yield 1

    decorate = decorators()[name]
    for wrong in (classmethod(lambda cls: None), staticmethod(lambda: None), 5, generator):
        with pytest.raises(TypeError, match=f"{name} takes"):
            decorate(wrong)


def test_factories_of_decorators_refuse_a_function_in_place_of_their_argument() -> None:
    from observability.logging import log_function_call
    from observability.metrics import track_http_requests, track_step_execution, track_task_execution

    for factory in (log_function_call, track_http_requests, track_step_execution, track_task_execution):
        for wrong in (lambda: None, 5, classmethod(lambda cls: None)):
            with pytest.raises(TypeError, match=rf"write @{factory.__name__}\(\)"):
                factory(wrong)
        factory(None)
    log_function_call(logging.getLogger("host"))
