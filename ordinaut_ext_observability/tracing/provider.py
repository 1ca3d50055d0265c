"""OpenTelemetry's process-wide parts: the tracer provider, ours where there is none, and clients' instrumentations."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from ordinaut_ext_observability.correlation.ids import random_ids
from ordinaut_ext_observability.settings.parts import GeneralSettings
from ordinaut_ext_observability.tracing.sender import SpanSender

_CLIENTS = ("asyncpg", "httpx", "redis", "sqlalchemy")


class _PooledIds(RandomIdGenerator):
    """Ids from our pool: OpenTelemetry's come from the host's random numbers, which would then be others."""

    def generate_trace_id(self) -> int:
        return int(random_ids.take()[0], 16)

    def generate_span_id(self) -> int:
        return int(random_ids.take()[1], 16)


class Outlet(SpanProcessor):
    """The processor of our provider: it hands ended spans to the sender of a runtime, and outlives that."""

    sender: SpanSender | None = None

    def on_end(self, span: ReadableSpan) -> None:
        if self.sender is not None:
            self.sender.add(span)


_outlets: WeakKeyDictionary[trace.TracerProvider, Outlet] = WeakKeyDictionary()


def obtain_outlet(general: GeneralSettings) -> Outlet | None:
    """The outlet of the process's provider, None where that is not ours. Where it has none, it gets ours, for good."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        ours = {"service.name": "ordinaut", "deployment.environment": general.environment}
        ours |= {"service.version": general.version} if general.version else {}
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())  # `OTEL_*` win
        provider = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=_PooledIds())
        provider.add_span_processor(outlet := Outlet())
        _outlets[provider] = outlet
        trace.set_tracer_provider(provider)
    return _outlets.get(trace.get_tracer_provider())


def instrument_clients() -> list[Any]:
    """Switch on those instrumentations of clients that are installed and not on yet, and return them."""
    switched_on = []
    for entry in entry_points(group="opentelemetry_instrumentor"):
        if entry.name in _CLIENTS and not (entry.name == "sqlalchemy" and "sqlalchemy.engine" not in sys.modules):
            with suppress(ImportError):  # of the client itself
                instrumentor = entry.load()()
                if not instrumentor.is_instrumented_by_opentelemetry:
                    instrumentor.instrument(**({"engines": _engines()} if entry.name == "sqlalchemy" else {}))
                    switched_on += [instrumentor] if instrumentor.is_instrumented_by_opentelemetry else []
    return switched_on


def _engines() -> list[Any]:
    """SQLAlchemy's engines that exist: its instrumentation sees by itself only those made later."""
    return [found for found in gc.get_objects() if type(found) is sys.modules["sqlalchemy.engine"].Engine]
