"""Spans of runs, steps and events, as a real OTLP receiver gets them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from observability.logging import clear_request_context, generate_step_id, pipeline_logger, worker_logger
from observability.metrics import orchestrator_metrics, track_step_execution
from observability.tracing import Span, continue_event, event_fields, pipeline_span, step_span, validation_span
from ordinaut_ext_observability import current_runtime, current_traceparent, instrument_client
from ordinaut_ext_observability.correlation.context import current_ids, request_ids
from tests.otlp import OtlpReceiver, ReceivedSpan


class PromptReceiver(OtlpReceiver):
    """Asks the process for its spans, in place of waiting two seconds for them."""

    def spans(self, count: int = 1, **fields: Any) -> list[ReceivedSpan]:
        sender = current_runtime().tracing._outlet.sender
        sender._thread.call_soon(sender._send)
        return super().spans(count, **fields)


IDS = ("request-1", "1" * 32, "2" * 16, True)
EVENT = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "tracestate": "vendor=7", "correlation_id": "request-1"}


@pytest.fixture
def traced(no_tracer_provider: None, clean_process: pytest.MonkeyPatch) -> Iterator[PromptReceiver]:
    receiver = PromptReceiver()
    clean_process.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    clear_request_context()
    yield receiver
    receiver.close()
    clear_request_context()
    current_runtime().logs.setup.restore()
    errors = current_runtime().metrics.internal_errors.children()
    assert {child.label_values: child.value for child in errors} == {}


def run_as_the_host(*, fails: bool = False) -> None:
    """What Ordinaut's worker reports of an item with one step."""
    orchestrator_metrics.record_pipeline_execution("task-1", "started")
    step_id = generate_step_id("fetch")
    pipeline_logger.pipeline_step_started(step_id=step_id, tool_address="http.get")
    status = 502 if fails else 200
    tool = {"tool_address": "http.get", "method": "simulated", "status_code": status, "duration": 0.25}
    orchestrator_metrics.record_external_tool_call(**tool)
    step = {"tool_addr": "http.get", "step_id": step_id, "task_id": "task-1", "duration": 0.25}
    orchestrator_metrics.record_step_execution(**step, success=not fails, error_type="Timeout" if fails else None)
    pipeline_logger.pipeline_step_completed(
        step_id=step_id, tool_address="http.get", success=not fails, duration_ms=250
    )
    for _ in range(2 if fails else 1):
        orchestrator_metrics.record_pipeline_execution("task-1", "failed" if fails else "success")


def test_run_of_a_worker_is_a_span_with_its_steps_and_tool_calls(traced: PromptReceiver) -> None:
    worker_logger.lease_acquired(worker_id="w1", task_id="task-1", lease_duration_seconds=60)
    run_as_the_host()
    assert current_ids() is None
    spans = {span.name: span for span in traced.spans(3)}
    run, step, tool = (spans[name] for name in ("execute_pipeline", "execute_step_fetch", "call_tool"))
    assert (run.parent_id, step.parent_id, tool.parent_id) == ("", run.span_id, step.span_id)
    assert (run.attributes["task.id"], run.attributes["worker.id"]) == ("task-1", "w1")
    assert (step.attributes["step.tool"], step.attributes["run.id"]) == ("http.get", run.attributes["run.id"])
    assert tool.attributes["tool.address"] == "http.get"
    assert 0.25 <= tool.seconds < 0.3
    assert {span.status for span in spans.values()} == {"UNSET"}


def test_failed_run_says_so_once(traced: PromptReceiver) -> None:
    run_as_the_host(fails=True)
    run_as_the_host()
    spans = traced.spans(6)
    assert len({span.trace_id for span in spans}) == 2
    failed = {span.name: span.status_message for span in spans if span.status == "ERROR"}
    assert failed == {"execute_pipeline": "failed", "execute_step_fetch": "Timeout", "call_tool": "failed"}
    assert [span.name for span in spans].count("execute_pipeline") == 2


def test_run_links_to_the_request_that_queued_it(
    traced: PromptReceiver, clean_process: pytest.MonkeyPatch, redis_url: str
) -> None:
    clean_process.delenv("ORDINAUT_OBS_STORE")
    clean_process.setenv("REDIS_URL", redis_url)
    runtime = current_runtime()
    runtime.start()
    assert runtime.merged.relay.state.settled.wait(20)
    with Span("POST /events/"):
        runtime.merged.note_queued("task-1")
    assert runtime.merged.relay.read_total().result(20)
    worker_logger.lease_acquired(worker_id="w1", task_id="task-1", lease_duration_seconds=60)
    run_as_the_host()
    worker_logger.worker_heartbeat(worker_id="w1", queue_depth=0, active_leases=0)
    run_as_the_host()
    request = traced.span(name="POST /events/")
    first, second = traced.spans(2, name="execute_pipeline")
    assert [link[:2] for link in first.links] == [(request.trace_id, request.span_id)]
    assert first.trace_id != request.trace_id
    assert second.links == []


def test_step_that_is_only_reported_when_it_ended_is_a_span_too(traced: PromptReceiver) -> None:
    @track_step_execution()
    def step(tool_addr: str, step_id: str, task_id: str) -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        step("http.get", "fetch", "task-1")
    span = traced.span()
    assert (span.name, span.status_message) == ("execute_step_fetch", "KeyError")


def test_blocks_nest_in_synchronous_and_asynchronous_code(traced: PromptReceiver) -> None:
    steps = [{"id": "a", "uses": "tool-a"}, {"id": "b", "uses": "tool-b"}]

    async def run_step(step: dict[str, str]) -> None:
        with step_span(step["id"], step["uses"]):
            await asyncio.sleep(0.001)

    @pipeline_span()
    async def execute() -> str:
        with validation_span(steps) as span:
            span.set_attribute("valid", True)
        await asyncio.gather(*map(run_step, steps))
        return "done"

    assert asyncio.run(execute()) == "done"
    spans = {span.name: span for span in traced.spans(4)}
    assert spans["validate_pipeline"].attributes == {"pipeline.steps": 2, "valid": True}
    assert spans["execute_step_b"].attributes == {"step.tool": "tool-b"}
    parents = {span.parent_id for name, span in spans.items() if name != "execute_pipeline"}
    assert parents == {spans["execute_pipeline"].span_id}


def test_exception_is_recorded_scrubbed_and_goes_on(traced: PromptReceiver) -> None:
    with pytest.raises(ValueError), Span("render", {"password": "hunter2secret"}):
        raise ValueError("no user ann@example.com")
    assert current_ids() is None
    span = traced.span()
    assert (span.status, span.status_message) == ("ERROR", "ValueError")
    ((name, event),) = span.events
    assert (name, event["exception.message"]) == ("exception", "no user [REDACTED_EMAIL]")
    assert "hunter2secret" not in str(span)
    assert "ann@example.com" not in str(span)


def test_names_are_bounded(traced: PromptReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    from ordinaut_ext_observability.compat import tracing

    monkeypatch.setattr(tracing, "_names", {f"name {number}" for number in range(tracing._MAX_NAMES - 1)})
    for name in ("x" * 1000, "one more", "name 7"):
        with Span(name):
            pass
    assert [span.name for span in traced.spans(3)] == ["x" * 100, "__other__", "name 7"]


@pytest.mark.parametrize("encode", [lambda text: text, str.encode], ids=["text", "bytes"])
def test_event_is_handled_in_the_trace_of_its_publisher(traced: PromptReceiver, encode: Callable[..., Any]) -> None:
    token = request_ids.set(IDS)
    with Span("publish"):
        fields = event_fields()
    request_ids.reset(token)
    assert fields["correlation_id"] == "request-1"
    with continue_event({encode(name): encode(value) for name, value in fields.items()}, "charge"):
        inside = current_ids()
    published, handled = traced.span(name="publish"), traced.span(name="charge")
    assert (handled.trace_id, handled.parent_id) == (published.trace_id, published.span_id)
    assert handled.kind == "CONSUMER"
    assert inside[:3] == ("request-1", published.trace_id, handled.span_id)
    assert current_ids() is None


def test_tracestate_and_the_callers_decision_travel_on(traced: PromptReceiver) -> None:
    with continue_event(EVENT):
        fields = event_fields()
    assert fields["tracestate"] == "vendor=7"
    assert fields["traceparent"].startswith(f"00-{'1' * 32}-")
    with continue_event({**EVENT, "traceparent": EVENT["traceparent"][:-2] + "00"}):
        assert event_fields()["traceparent"].endswith("-00")
    assert traced.spans()[0].parent_id == "2" * 16
    assert len(traced.spans()) == 1


def test_call_of_an_instrumented_client_carries_the_span(traced: PromptReceiver) -> None:
    import httpx

    seen: list[str] = []
    answer = httpx.MockTransport(lambda request: seen.append(request.headers["traceparent"]) or httpx.Response(200))
    with instrument_client(httpx.Client(transport=answer)) as client, Span("call"):
        client.get("http://service/")
    span = traced.span(name="call")
    assert [traceparent[:-3] for traceparent in seen] == [f"00-{span.trace_id}-{span.span_id}"]


@pytest.mark.parametrize("fields", [{}, {"traceparent": "00-x"}, {b"\xff": b"\xff"}, {1: None}, None, 7], ids=repr)
def test_with_other_fields_an_event_has_ids_of_its_own(clean_process: Any, fields: Any) -> None:
    clear_request_context()
    with continue_event(fields):
        assert current_ids()[1] not in ("", "1" * 32)
    assert current_ids() is None


def test_ids_travel_without_tracing(clean_process: Any) -> None:
    clear_request_context()
    with continue_event(EVENT):
        assert current_ids()[:2] == ("request-1", "1" * 32)
        fields = event_fields()
        assert fields == {"traceparent": current_traceparent(), "correlation_id": "request-1"}
    with continue_event({**EVENT, "correlation_id": "a\nb"}):
        assert current_ids()[0] == "1" * 32
    assert event_fields() == {}


def test_off_nothing_of_opentelemetry_is_imported(start_child: Callable[..., Any]) -> None:
    code = """
import sys
from observability.metrics import orchestrator_metrics
from observability.logging import pipeline_logger
from observability.tracing import *
orchestrator_metrics.record_pipeline_execution("t", "started")
pipeline_logger.pipeline_step_started(step_id="s", tool_address="t")
with pipeline_span(), validation_span([]) as span, step_span("s", "t"), continue_event(event_fields()):
    span.set_attribute("a", 1)
Span("f")(lambda: None)()
orchestrator_metrics.record_step_execution("t", "s", "t", 0.1, True)
orchestrator_metrics.record_pipeline_execution("t", "success")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    child = start_child("-c", code)
    child.process.wait(30)
    assert child.out == "[]\n", child.err
