"""The tracer provider of the process: the one it has, else ours."""

from __future__ import annotations

import threading
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from ordinaut_ext_observability.correlation.ids import random_ids
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.tracing.sender import SpanSender

_OUR_THREADS = "observability-"


class _PooledIds(IdGenerator):
    """Ids from our pool: OpenTelemetry's come from the host's random numbers, which would then be others."""

    def generate_trace_id(self) -> int:
        return int(random_ids.take()[:32], 16)

    def generate_span_id(self) -> int:
        return int(random_ids.take()[32:], 16)

    def is_trace_id_random(self) -> bool:
        return True


class _Outlet(SpanProcessor):
    """Hands ended spans to the sender of the runtime that is on."""

    sender: SpanSender | None = None

    def on_end(self, span: ReadableSpan) -> None:
        if self.sender is not None:
            self.sender.add(span)


class OwnProvider(TracerProvider):
    """A provider that outlives a runtime, since OpenTelemetry lets a process set its provider once."""

    def __init__(self, settings: Settings) -> None:
        """`OTEL_*` variables win over our settings: a resource's attributes, and the sampler."""
        general, tracing = settings.general, settings.tracing
        ours = {"service.name": "ordinaut", "deployment.environment": general.environment}
        ours |= {"deployment.environment.name": general.environment}  # its newer name
        ours |= {"service.version": general.version} if general.version else {}
        super().__init__(
            sampler=None if tracing.sampler else ParentBased(TraceIdRatioBased(tracing.sample_ratio)),
            resource=Resource.create(ours).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
            id_generator=_PooledIds(),
        )
        self.outlet = _Outlet()
        self.add_span_processor(self.outlet)


def obtain_provider(settings: Settings) -> trace.TracerProvider:
    """The provider of the process; where it has none, ours is made and becomes it."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        provider = OwnProvider(settings)
        trace.set_tracer_provider(provider)
    return provider


class HostTracers(trace.TracerProvider):
    """Tracers for clients of databases and services, which make no spans in our threads: no request waits for those."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._provider = provider

    def get_tracer(self, *arguments: Any, **options: Any) -> trace.Tracer:
        return _HostTracer(self._provider.get_tracer(*arguments, **options))


class _HostTracer(trace.Tracer):
    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start_span(self, *arguments: Any, **options: Any) -> trace.Span:
        return trace.INVALID_SPAN if _in_our_thread() else self._tracer.start_span(*arguments, **options)

    def start_as_current_span(self, *arguments: Any, **options: Any) -> Any:
        if _in_our_thread():
            return trace.use_span(trace.INVALID_SPAN)
        return self._tracer.start_as_current_span(*arguments, **options)


def _in_our_thread() -> bool:
    return threading.current_thread().name.startswith(_OUR_THREADS)
