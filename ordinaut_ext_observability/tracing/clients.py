"""Spans of what the host asks of databases and services: OpenTelemetry's instrumentations, where they are installed."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Any

from opentelemetry.trace import TracerProvider

from ordinaut_ext_observability.tracing.provider import HostTracers

_INSTRUMENTORS = {
    "asyncpg": "AsyncPGInstrumentor",
    "httpx": "HTTPXClientInstrumentor",
    "redis": "RedisInstrumentor",
    "sqlalchemy": "SQLAlchemyInstrumentor",
}


def instrument_clients(provider: TracerProvider) -> dict[str, Any]:
    """Switch on what is not yet; the instrumentors to switch off again, by the name of their library."""
    switched_on: dict[str, Any] = {}
    for library, name in _INSTRUMENTORS.items():
        if library == "sqlalchemy" and "sqlalchemy.engine" not in sys.modules:
            continue  # the host has no use for it, and it takes long to import
        try:
            instrumentor = getattr(import_module(f"opentelemetry.instrumentation.{library}"), name)()
        except ImportError:
            continue
        if not instrumentor.is_instrumented_by_opentelemetry:
            options = {"engines": _engines()} if library == "sqlalchemy" else {}
            instrumentor.instrument(tracer_provider=HostTracers(provider), **options)
            switched_on[library] = instrumentor
    return switched_on


def _engines() -> list[Any]:
    """The engines that exist: the instrumentation sees by itself only those made after it."""
    engine = sys.modules["sqlalchemy.engine"].Engine
    return [found for found in gc.get_objects() if type(found) is engine]
