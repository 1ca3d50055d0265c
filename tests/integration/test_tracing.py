"""Spans of the host's requests, as a real OTLP receiver gets them."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from tests.otlp import OtlpReceiver

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
pytestmark = pytest.mark.usefixtures("no_tracer_provider")


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/tasks/{task_id}")
    async def show(task_id: str) -> str:
        logging.getLogger("host.work").warning("at work")
        return task_id

    @app.get("/fails")
    async def fail() -> None:
        raise RuntimeError("password=hunter2secret")

    @app.get("/health")
    async def health() -> str:
        from opentelemetry import trace

        with trace.get_tracer("host").start_as_current_span("look"):
            return "ok"

    router = APIRouter()
    router.add_api_route("/notes/{note_id}", lambda note_id: note_id)
    app.include_router(router, prefix="/api")
    return app


@pytest.fixture
def serve_traced(serve: Any, otlp_receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Serves an application whose spans go to the receiver."""

    def run(app: Any = None, **settings: str) -> Any:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_receiver.url)
        return serve(app or make_app(), **settings)

    return run


def ask(served: Any, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer; not through httpx, whose calls are traced in this process."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_span_of_a_request_reaches_the_collector(serve_traced: Callable[..., Any], otlp_receiver: OtlpReceiver) -> None:
    served = serve_traced(VERSION="1.2", ENVIRONMENT="staging")
    ask(served, "/tasks/41?token=abcdefghijkl", **CALLER)
    span = otlp_receiver.span()
    assert (span.name, span.kind, span.status) == ("GET /tasks/{task_id}", "SERVER", "UNSET")
    assert (span.trace_id, span.parent_id) == (TRACE_ID, "00f067aa0ba902b7")
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/tasks/{task_id}",
        "http.response.status_code": 200,
        "url.path": "/tasks/41",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": served.port,
    }
    expected = {"service.name": "ordinaut", "service.version": "1.2", "deployment.environment": "staging"}
    assert expected.items() <= span.resource.items()
    served.expect("ordinaut_observability_spans_total", 1, outcome="exported")
