"""The host's own OpenTelemetry instrumentation, applied before us or after us: its spans stay as they are without us."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ordinaut_ext_observability import current_correlation_id

EXCEPTIONS = "orchestrator_http_exceptions_total"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PATHS = ("/tasks/41", "/api/notes/7", "/nowhere", "/tasks/41/")
BOTH_ORDERS = pytest.mark.parametrize("order", ["before", "after"])


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/tasks/{task_id}")
    async def show(task_id: str) -> str:
        return f"{task_id} {current_correlation_id()}"

    @app.get("/fails")
    async def fail() -> None:
        raise RuntimeError("unhandled")

    router = APIRouter()
    router.add_api_route("/notes/{note_id}", lambda note_id: note_id)
    app.include_router(router, prefix="/api")
    return app


class Instrumented:
    """An application that is served with OpenTelemetry's instrumentation, and the spans it made."""

    def __init__(self, served: Any, exporter: InMemorySpanExporter, eventually: Callable[..., bool]) -> None:
        self.served = served
        self.exporter = exporter
        self._eventually = eventually

    def server_spans(self, count: int = 1) -> list[Any]:
        """The spans of the requests, once there are so many: a span ends after its response."""

        def found() -> list[Any]:
            return [span for span in self.exporter.get_finished_spans() if span.kind is SpanKind.SERVER]

        assert self._eventually(lambda: len(found()) >= count), found()
        return found()

    def seen(self, count: int) -> list[tuple[str, Any, Any, str]]:
        """What the spans of the requests say: name, route, status, status of the span."""
        return [
            (
                span.name,
                span.attributes.get("http.route"),
                span.attributes.get("http.status_code") or span.attributes.get("http.response.status_code"),
                span.status.status_code.name,
            )
            for span in self.server_spans(count)
        ]


@pytest.fixture
def instrument() -> Iterator[Callable[[FastAPI], InMemorySpanExporter]]:
    """Instruments applications as a host does; undone at the end, since it changes Starlette as well."""
    with contextlib.ExitStack() as stack:

        def run(app: FastAPI) -> InMemorySpanExporter:
            exporter = InMemorySpanExporter()
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
            stack.callback(FastAPIInstrumentor.uninstrument_app, app)
            return exporter

        yield run


@pytest.fixture
def serve_instrumented(
    serve_bare: Any, set_up: Any, instrument: Callable[[FastAPI], InMemorySpanExporter], eventually: Any
) -> Callable[..., Instrumented]:
    """Serves an application instrumented before our set-up, after it, or without us; `options` are uvicorn's."""

    def run(order: str, options: Any = None, **settings: str) -> Instrumented:
        app = make_app()
        log = None
        if order == "after":
            _, log = set_up(app, **settings)
        exporter = instrument(app)
        if order == "before":
            _, log = set_up(app, **settings)
        served = serve_bare(app, options)
        served.log = log
        return Instrumented(served, exporter, eventually)

    return run


@BOTH_ORDERS
@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_spans_are_those_of_the_host_without_us(
    serve_instrumented: Callable[..., Instrumented], order: str, lifespan: str
) -> None:
    expected = serve_instrumented("without")
    ours = serve_instrumented(order, {"lifespan": lifespan})
    for instrumented in (expected, ours):
        for path in PATHS:
            instrumented.served.get(path)
    seen = ours.seen(len(PATHS))
    assert ("GET /tasks/{task_id}", "/tasks/{task_id}", 200, "UNSET") in seen
    assert seen == expected.seen(len(PATHS))
    assert len(ours.exporter.get_finished_spans()) == len(expected.exporter.get_finished_spans())


@BOTH_ORDERS
@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_each_request_is_counted_once(
    serve_instrumented: Callable[..., Instrumented], order: str, lifespan: str
) -> None:
    served = serve_instrumented(order, {"lifespan": lifespan}).served
    for path in PATHS:
        served.get(path)
    served.expect_requests(
        {
            ("GET", "/tasks/{task_id}", "200"): 1,
            ("GET", "/tasks/{task_id}", "307"): 1,
            ("GET", "/api/notes/{note_id}", "200"): 1,
            ("GET", "<unmatched>", "404"): 1,
        }
    )


@BOTH_ORDERS
def test_answers_are_those_of_the_host_with_our_headers(
    serve_instrumented: Callable[..., Instrumented], order: str
) -> None:
    response = serve_instrumented(order).served.get("/tasks/41", headers={"X-Request-ID": "mine"})
    assert (response.status_code, response.json()) == (200, "41 mine")
    assert response.headers["x-correlation-id"] == "mine"


@BOTH_ORDERS
def test_failure_is_on_the_span_and_counted_once(serve_instrumented: Callable[..., Instrumented], order: str) -> None:
    instrumented = serve_instrumented(order)
    response = instrumented.served.get("/fails")
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    (span,) = instrumented.server_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
    instrumented.served.expect(EXCEPTIONS, 1)
    instrumented.served.expect_requests({("GET", "/fails", "500"): 1})


@BOTH_ORDERS
def test_line_and_exemplar_carry_the_trace_of_the_span(
    serve_instrumented: Callable[..., Instrumented], order: str
) -> None:
    instrumented = serve_instrumented(order)
    served = instrumented.served
    served.get("/tasks/41", headers={"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"})
    (span,) = instrumented.server_spans()
    line = served.log.line(message="request")
    assert line["trace_id"] == TRACE_ID
    assert line["span_id"] == f"{span.context.span_id:016x}"
    page = served.get("/ext/observability/metrics", headers={"Accept": "application/openmetrics-text"}).text
    assert f'trace_id="{TRACE_ID}"' in page


@BOTH_ORDERS
def test_trace_made_by_the_instrumentation_is_on_the_line(
    serve_instrumented: Callable[..., Instrumented], order: str
) -> None:
    instrumented = serve_instrumented(order)
    instrumented.served.get("/tasks/41")
    (span,) = instrumented.server_spans()
    assert instrumented.served.log.line(message="request")["trace_id"] == f"{span.context.trace_id:032x}"


def test_both_stay_when_we_are_loaded_into_an_instrumented_host_that_runs(
    serve_bare: Any, set_up: Any, instrument: Callable[[FastAPI], InMemorySpanExporter], eventually: Any
) -> None:
    app = make_app()
    exporter = instrument(app)
    served = serve_bare(app)
    served.get("/tasks/40")

    async def load() -> Any:
        return set_up(app)[0]

    served.runtime = served.on_loop(load())._runtime
    served.get("/tasks/41")
    spans = Instrumented(served, exporter, eventually)
    assert [name for name, *_ in spans.seen(2)] == ["GET /tasks/{task_id}"] * 2
    served.expect_requests({("GET", "/tasks/{task_id}", "200"): 1})


def test_host_that_removes_its_instrumentation_is_still_measured(
    serve_instrumented: Callable[..., Instrumented],
) -> None:
    instrumented = serve_instrumented("after")
    served = instrumented.served
    served.get("/tasks/41")
    assert len(instrumented.server_spans()) == 1
    FastAPIInstrumentor.uninstrument_app(served.app)
    served.get("/tasks/42")
    served.expect_requests({("GET", "/tasks/{task_id}", "200"): 2})
    assert len(instrumented.server_spans()) == 1
