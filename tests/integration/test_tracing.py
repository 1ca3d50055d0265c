"""Spans of the host's requests and of what they ask of databases, as a real OTLP receiver gets them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.otlp import OtlpReceiver

SPANS = "ordinaut_observability_spans_total"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
SECRET = "hunter2-and-more"

pytestmark = pytest.mark.usefixtures("no_tracer_provider")


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/tasks/{task_id}")
    async def show(task_id: str) -> str:
        logging.getLogger("host").warning("at work")
        with trace.get_tracer("host").start_as_current_span("inner"):
            logging.getLogger("host").warning("further in")
        return task_id

    @app.get("/fails")
    async def fail() -> None:
        raise RuntimeError(f"password={SECRET}")

    @app.get("/health")
    async def health() -> None:
        trace.get_tracer("host").start_span("looked at").end()

    router = APIRouter()
    router.add_api_route("/notes/{note_id}", lambda note_id: note_id)
    app.include_router(router, prefix="/api")
    return app


@pytest.fixture
def serve_traced(serve: Any, otlp_receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Serves an application whose spans go to the receiver."""

    def run(app: Any = None, **settings: str) -> Any:
        from ordinaut_ext_observability.tracing import sender

        monkeypatch.setattr(sender, "_INTERVAL_SECONDS", 0.1)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_receiver.url)
        return serve(app or make_app(), **settings)

    return run


def ask(served: Any, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer; not through httpx, whose calls are traced in this process."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


def test_span_of_a_request_reaches_the_collector(serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver) -> None:
    served = serve_traced(VERSION="1.2", ENVIRONMENT="staging")
    ask(served, f"/api/notes/41?token={SECRET}", **CALLER)
    ask(served, "/nowhere")
    unmatched, span = sorted(otlp_receiver.spans(2), key=lambda span: span.name)
    assert (unmatched.name, unmatched.attributes["url.path"], unmatched.parent_id) == ("GET", "/nowhere", "")
    assert (span.name, span.kind, span.status) == ("GET /api/notes/{note_id}", "SERVER", "UNSET")
    assert (span.trace_id, span.parent_id) == (TRACE_ID, "00f067aa0ba902b7")
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/api/notes/{note_id}",
        "http.response.status_code": 200,
        "url.path": "/api/notes/41",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": served.port,
    }
    expected = {"service.name": "ordinaut", "service.version": "1.2", "deployment.environment": "staging"}
    assert expected.items() <= span.resource.items()
    served.expect(SPANS, 2, outcome="exported")
    assert served.runtime.notes()["tracing"] == f"on: spans go to {otlp_receiver.url}"


def test_failure_is_on_the_span_without_its_secret(
    serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver
) -> None:
    assert ask(serve_traced(), "/fails") == (500, b"Internal Server Error")
    span = otlp_receiver.span()
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "RuntimeError")
    ((name, attributes),) = span.events
    assert (name, attributes["exception.type"]) == ("exception", "RuntimeError")
    assert "raise RuntimeError" in attributes["exception.stacktrace"]
    assert SECRET not in str(span)


def test_lines_and_exemplars_carry_the_trace_of_the_span(
    serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver
) -> None:
    served = serve_traced(CONFIGURE_LOGGING="true")
    ask(served, "/tasks/41")
    span, inner = (otlp_receiver.span(name=name) for name in ("GET /tasks/{task_id}", "inner"))
    assert (inner.trace_id, inner.parent_id) == (span.trace_id, span.span_id)
    for message, span_id in (("request", span.span_id), ("at work", span.span_id), ("further in", inner.span_id)):
        line = served.log.line(message=message)
        assert (line["correlation_id"], line["trace_id"], line["span_id"]) == (span.trace_id, span.trace_id, span_id)
    page = ask(served, "/ext/observability/metrics", Accept="application/openmetrics-text")[1].decode()
    assert f'trace_id="{span.trace_id}"' in page


def test_requests_sampled_out_have_ids_and_no_spans(
    serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    served = serve_traced()
    ask(served, "/tasks/41")
    ask(served, "/tasks/42", **CALLER)
    assert {span.trace_id for span in otlp_receiver.spans(2)} == {TRACE_ID}  # as the caller says
    first, second = served.log.lines(2, message="request")
    assert len(first["trace_id"]) == 32
    assert second["trace_id"] == TRACE_ID
    page = ask(served, "/ext/observability/metrics", Accept="application/openmetrics-text")[1].decode()
    assert TRACE_ID in page
    assert first["trace_id"] not in page


def test_probes_and_our_own_endpoints_have_no_spans(
    serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver
) -> None:
    served = serve_traced(HTTP_METRICS="true")
    for path in ("/health", "/metrics", "/ext/observability/health/live", "/ext/observability/metrics", "/tasks/41"):
        assert ask(served, path)[0] == 200
    assert {span.name for span in otlp_receiver.spans(2)} == {"GET /tasks/{task_id}", "inner"}


def test_hosts_own_instrumentation_keeps_its_spans_and_they_are_not_doubled(
    serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver
) -> None:
    app = make_app()
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
    try:
        served = serve_traced(app)
        ask(served, "/tasks/41")
        span = otlp_receiver.span(kind="SERVER")
    finally:
        FastAPIInstrumentor.uninstrument_app(app)
    assert (span.name, span.scope) == ("GET /tasks/{task_id}", "opentelemetry.instrumentation.fastapi")
    assert served.log.line(message="request")["span_id"] == span.span_id


def test_provider_of_the_host_stays_and_gets_the_spans(
    serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver, eventually: Callable[..., bool]
) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> Any:
        trace.set_tracer_provider(provider)  # as the host starts: we do not set ours before
        yield

    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    served = serve_traced(app)
    ask(served, "/tasks/41")
    assert eventually(lambda: any(span.parent is None for span in exporter.get_finished_spans()))
    spans = [span for span in exporter.get_finished_spans() if span.kind is trace.SpanKind.SERVER]
    assert [span.name for span in spans] == ["GET /tasks/{task_id}"]  # ours, or that of a newer FastAPI
    assert trace.get_tracer_provider() is provider
    assert served.runtime.notes()["tracing"] == "on: spans go where the tracer provider of the process sends them"
    assert not otlp_receiver.asked.is_set()


def test_host_that_runs_is_traced_from_the_load_on(
    serve_bare: Any, set_up: Any, otlp_receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{otlp_receiver.url}/v1/traces")
    app = make_app()
    served = serve_bare(app)

    async def load() -> None:
        set_up(app)

    served.on_loop(load())
    ask(served, "/api/notes/7")
    assert otlp_receiver.span(kind="SERVER").name == "GET /api/notes/{note_id}"


def test_queries_and_calls_are_children_of_the_request_without_literals_and_our_own_work_is_not_traced(
    serve_traced: Callable[..., Any],
    otlp_receiver: OtlpReceiver,
    database_url: str,
    redis_url: str,
    eventually: Callable[..., bool],
) -> None:
    import asyncpg
    import redis.asyncio
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from sqlalchemy import create_engine, text

    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    app = FastAPI()

    @app.get("/everything")
    async def ask_all() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.fetch(f"SELECT 1 WHERE 'asyncpg' <> '{SECRET}'")
        await connection.close()
        async with redis.asyncio.from_url(redis_url) as client:
            await client.set("name", SECRET)
        with engine.connect() as bound:
            bound.execute(text(f"SELECT 2, 'alchemy' WHERE 'alchemy' <> '{SECRET}'"))
        engine.dispose()

    served = serve_traced(app, DATABASE_URL=database_url, REDIS_URL=redis_url, RELAY_INTERVAL_SECONDS="0.1")
    ask(served, "/everything")
    span = otlp_receiver.span(kind="SERVER")
    expected = {"SET ? ?"}
    if find_spec("opentelemetry.instrumentation.asyncpg"):  # no extra has it: its releases come later than the others
        expected.add("SELECT ? WHERE ? <> ?")
    if SQLAlchemyInstrumentor().is_instrumented_by_opentelemetry:  # it knows SQLAlchemy up to 2.0
        expected.add("SELECT ?, ? WHERE ? <> ?")
    found = otlp_receiver.spans(len(expected), kind="CLIENT", parent_id=span.span_id)
    assert {span.attributes.get("db.statement") for span in found} - {None} == expected
    assert eventually(lambda: served.runtime.collectors.states.leads)
    served.stop()
    assert {span.trace_id for span in otlp_receiver.spans()} == {span.trace_id}
    assert SECRET not in str(otlp_receiver.spans())


@pytest.mark.parametrize("trouble", ["refused", "hanging", "503"])
def test_collector_that_is_down_costs_spans_alone(
    serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver, trouble: str
) -> None:
    otlp_receiver.hanging, otlp_receiver.status = trouble == "hanging", 503
    if trouble == "refused":
        otlp_receiver.close()
    served = serve_traced()
    for _ in range(600):  # more than one sending takes
        assert ask(served, "/api/notes/7") == (200, b'"7"')
    served.stop()
    served.expect(SPANS, 600, outcome="dropped")
    assert served.value(SPANS, outcome="exported") == 0
    assert served.internal_errors() == {}


def test_client_in_this_process_has_its_own_span_back(
    set_up: Callable[..., Any], otlp_receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_receiver.url)
    app = make_app()
    face, _ = set_up(app, ACCESS_LOG="false")

    async def call() -> None:
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
            with trace.get_tracer("host").start_as_current_span("caller") as caller:
                await client.get("http://host/api/notes/7")
                assert trace.get_current_span() is caller

    asyncio.run(call())
    assert otlp_receiver.span(name="GET /api/notes/{note_id}").parent_id == ""  # it sent no header


SCRIPT = """
import asyncio, os, sys, time
from fastapi import FastAPI
before = set(sys.modules)  # newer FastAPIs import OpenTelemetry's interface
from ordinaut_ext_observability.extension import ObservabilityExtension

async def call(app):
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": "GET"}
    scope |= {"path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": [], "server": None}
    answers = []
    async def send(message): answers.append(message)
    async def receive(): return {"type": "http.request", "body": b"", "more_body": False}
    await app({**scope, "client": None}, receive, send)
    return answers[0]["status"]

def fork(exported):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        return
    from opentelemetry import trace
    before = exported.value
    trace.get_tracer("child").start_span("of the child").end()
    while exported.value == before:
        time.sleep(0.01)
    os._exit(0)

async def main():
    app = FastAPI()
    app.add_api_route("/", lambda: None)
    app.include_router(ObservabilityExtension().setup(app=app, mount_path="/o"), prefix="/o")
    async with app.router.lifespan_context(app):
        assert await call(app) == 200
        print(app.state.ordinaut_observability._runtime.notes()["tracing"])
        print(sorted(name for name in sys.modules.keys() - before if name.startswith("opentelemetry.")))
        if "fork" in sys.argv:
            fork(app.state.ordinaut_observability._runtime.metrics.spans.labels("exported"))

if "missing" in sys.argv:
    sys.modules["opentelemetry.sdk"] = None
asyncio.run(main())
"""


def run_script(*arguments: str, **environ: str) -> tuple[str, str, str]:
    """The note about tracing, OpenTelemetry's modules, and what is on stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORDINAUT_", "OTEL_"))}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**kept, "ORDINAUT_OBS_STORE": "memory", **environ},
    )
    note, modules = done.stdout.splitlines()
    return note, modules, done.stderr


def test_nothing_of_opentelemetry_is_imported_while_tracing_is_off() -> None:
    note, modules, _ = run_script()
    assert (note[:3], modules) == ("off", "[]")


def test_host_goes_on_and_is_told_where_the_extra_is_not_installed() -> None:
    note, _, log = run_script("missing", ORDINAUT_OBS_TRACING="true")
    assert note == "off: install ordinaut-ext-observability[tracing]"
    assert log.count('"event_type":"tracing"') == 1


def test_forked_child_sends_its_spans(otlp_receiver: OtlpReceiver) -> None:
    run_script("fork", ORDINAUT_OBS_TRACING="true", OTEL_EXPORTER_OTLP_ENDPOINT=otlp_receiver.url)
    assert sorted(span.name for span in otlp_receiver.spans(2)) == ["GET /", "of the child"]
