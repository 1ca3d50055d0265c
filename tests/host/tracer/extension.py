"""An eager plug-in that instruments the host with OpenTelemetry and adds a middleware of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from ordinaut_ext_observability.host_contract import Capability, ExtensionInfo


class NamedHeader:
    """Puts a header on every response that passes."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_named(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-tracer", b"was here")]
            await send(message)

        await self.app(scope, receive, send_named)


class Tracer:
    def info(self) -> ExtensionInfo:
        return ExtensionInfo(id="tracer", name="Tracer", version="1.0.0")

    def requested_capabilities(self) -> set[Capability]:
        return {Capability.ROUTES}

    def setup(self, *, app: Any, mount_path: str, tool_registry: Any, grants: Any, context: Any = None) -> APIRouter:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
        app.add_middleware(NamedHeader)
        router = APIRouter()

        @router.get("/spans")
        async def spans() -> list[list[Any]]:
            return [
                [span.name, span.attributes.get("http.route")]
                for span in exporter.get_finished_spans()
                if span.kind is SpanKind.SERVER
            ]

        return router


def get_extension() -> Tracer:
    return Tracer()
