"""The tracer provider of the process: the one it has, else ours."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from ordinaut_ext_observability.correlation.ids import random_ids
from ordinaut_ext_observability.settings.parts import GeneralSettings
from ordinaut_ext_observability.tracing.sender import SpanSender


class _PooledIds(RandomIdGenerator):
    """Ids from our pool: OpenTelemetry's come from the host's random numbers, which would then be others."""

    def generate_trace_id(self) -> int:
        return int(random_ids.take()[:32], 16)

    def generate_span_id(self) -> int:
        return int(random_ids.take()[32:], 16)


class _Outlet(SpanProcessor):
    """Hands ended spans to the sender of the runtime that is on."""

    sender: SpanSender | None = None

    def on_end(self, span: ReadableSpan) -> None:
        if self.sender is not None:
            self.sender.add(span)


class OwnProvider(TracerProvider):
    """A provider that outlives a runtime and its sender: OpenTelemetry lets a process set its provider once."""

    def __init__(self, general: GeneralSettings) -> None:
        """The resource has `OTEL_*` attributes before ours; the sampler is OpenTelemetry's, parent-based."""
        ours = {"service.name": "ordinaut", "deployment.environment": general.environment}
        ours |= {"service.version": general.version} if general.version else {}
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        super().__init__(resource=resource, shutdown_on_exit=False, id_generator=_PooledIds())
        self.outlet = _Outlet()
        self.add_span_processor(self.outlet)


def obtain_provider(general: GeneralSettings) -> trace.TracerProvider:
    """The provider of the process; where it has none, ours is made and becomes it."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(OwnProvider(general))
    return trace.get_tracer_provider()
